"""Label images as OME-Zarr 0.5 with reduced levels, written shard by shard.

Source: OME-Zarr 0.5, "labels" and "image-label".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cellmill.arrays.windows import Grid, Windowed, WritableWindowed
from cellmill.arrays.zarr import SHARD, create_array, image_attributes, write_group
from cellmill.compiled import in_threads, threads_within

#: A pyramid ends with the first level whose sides are no longer than this, in px.
SMALLEST_LEVEL = 1024
#: Bytes that copying takes for each pixel of a shard.
_BYTES_PER_PIXEL = 24


def write_label_pyramids(
    uri: str,
    labels: Mapping[str, Windowed],
    *,
    mpp: tuple[float, float] | None = None,
    dtype: str = "int32",
    memory_mib: int = 1024,
) -> None:
    """Write label images as the group `labels` of an OME-Zarr, each with a pyramid.

    Each level has every second pixel of the one before, so that no label is invented or mixed.

    Args:
        uri: of the OME-Zarr, a path or a URI.
        labels: `(Y, X)` integers by name.
        mpp: pixel size (y, x) in microns, None where unknown.
        dtype: of what is written; labels must fit.
        memory_mib: to work in.

    Raises:
        BadInput: the place cannot be written.
    """
    root = uri.rstrip("/")
    write_group(root, {})
    write_group(f"{root}/labels", {"ome": {"version": "0.5", "labels": [*labels]}})
    threads = threads_within(memory_mib, SHARD**2 * _BYTES_PER_PIXEL)
    for name, source in labels.items():
        group = f"{root}/labels/{name}"
        level: Windowed = source
        step, factors = 1, [1]
        while True:
            shape = (-(-level.shape[0] // step), -(-level.shape[1] // step))
            made = create_array(f"{group}/{len(factors) - 1}", (shape, np.dtype(dtype), "YX"))
            grid = Grid(shape, SHARD)
            _reduce(level, step, made, grid, threads)
            level, step = made, 2
            if max(shape) <= SMALLEST_LEVEL:
                break
            factors.append(2 * factors[-1])
        about = image_attributes(name, "YX", factors, mpp=mpp, dtype=dtype, label=True)
        write_group(group, about)


def _reduce(source: Windowed, step: int, out: WritableWindowed, grid: Grid, threads: int) -> None:
    """Write every so many-th pixel, shard by shard."""

    def write(tile: int) -> None:
        box = grid.box(tile)
        window = tuple(slice(side.start * step, side.stop * step) for side in box.slices)
        out[box.slices] = np.asarray(source[window])[::step, ::step]

    in_threads(write, range(len(grid)), threads)
