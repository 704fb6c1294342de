"""Label images as OME-Zarr 0.5 with reduced levels, written shard by shard.

Source: OME-Zarr 0.5, "labels" and "image-label".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cellmill.arrays.groups import write_group
from cellmill.arrays.ome import image_attributes
from cellmill.arrays.windows import Grid, Windowed, WritableWindowed, sections_of
from cellmill.arrays.zarr import SHARD, create_array
from cellmill.compute.threads import in_threads, threads_within
from cellmill.errors import BadInput

#: A pyramid ends with the first level whose sides are no longer than this, in px.
SMALLEST_LEVEL = 1024
#: Bytes that copying takes for each pixel of a shard.
_BYTES_PER_PIXEL = 24


def write_label_pyramids(
    uri: str,
    labels: Mapping[str, Windowed],
    *,
    mpp: tuple[float, ...] | None = None,
    dtype: str = "int32",
    memory_mib: int = 1024,
) -> None:
    """Write label images as the group `labels` of an OME-Zarr, each with a pyramid.

    Each level has every second pixel of the one before, so that no label is invented or mixed.

    Args:
        uri: of the OME-Zarr, a path or a URI.
        labels: `(Y, X)` or `(Z, Y, X)` integers by name; planes are kept, their sides reduced.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
        dtype: of what is written; labels must fit.
        memory_mib: to work in.

    Raises:
        BadInput: labels do not fit the dtype, or the place cannot be written.
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
            shape = (-(-level.shape[-2] // step), -(-level.shape[-1] // step))
            axes, whole = "ZYX"[-len(level.shape) :], (*level.shape[:-2], *shape)
            made = create_array(f"{group}/{len(factors) - 1}", (whole, np.dtype(dtype), axes))
            grid = Grid(shape, SHARD)
            for plane, reduced in zip(sections_of(level), sections_of(made), strict=True):
                _reduce(plane, step, reduced, grid, threads)
            level, step = made, 2
            if max(shape) <= SMALLEST_LEVEL:
                break
            factors.append(2 * factors[-1])
        about = image_attributes(name, axes, factors, mpp=mpp, dtype=dtype, label=True)
        write_group(group, about)


def _reduce(source: Windowed, step: int, out: WritableWindowed, grid: Grid, threads: int) -> None:
    """Write every so many-th pixel, shard by shard."""

    def write(tile: int) -> None:
        box = grid.box(tile)
        window = tuple(slice(side.start * step, side.stop * step) for side in box.slices)
        labels = np.asarray(source[window])[::step, ::step]
        if not np.can_cast(labels.dtype, out.dtype) and labels.size:
            _check_fit(labels, out.dtype)
        out[box.slices] = labels

    in_threads(write, range(len(grid)), threads)


def _check_fit(labels: np.ndarray, dtype: np.dtype) -> None:
    limits = np.iinfo(dtype)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < limits.min or highest > limits.max:
        found = highest if highest > limits.max else lowest
        raise BadInput("labels", expected=f"numbers that {dtype} holds", found=f"{found}")
