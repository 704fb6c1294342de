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
    for name, source in labels.items():
        group, axes = f"{root}/labels/{name}", "ZYX"[-len(source.shape) :]
        factors = write_levels(group, source, axes, dtype=dtype, memory_mib=memory_mib)
        about = image_attributes(name, axes, factors, mpp=mpp, dtype=dtype, label=True)
        write_group(group, about)


def write_levels(
    group: str, source: Windowed, axes: str, *, dtype: str, memory_mib: int = 1024
) -> list[int]:
    """Write an array and its reduced levels as the arrays `0`, `1`, … of a group.

    Each level has every second pixel of the one before.

    Args:
        group: URI of the group, whose metadata are not written.
        source: the array, its axes in the order of `axes`.
        axes: `YX`, `YXC`, `ZYX` or `ZYXC`.
        dtype: of what is written; whole numbers must fit.
        memory_mib: to work in.

    Returns:
        How many times smaller each level is than the first.

    Raises:
        BadInput: values do not fit the dtype, or the place cannot be written.
    """
    channels = source.shape[-1] if axes.endswith("C") else 1
    threads = threads_within(memory_mib, SHARD**2 * _BYTES_PER_PIXEL * channels)
    y = axes.index("Y")
    level: Windowed = source
    step, factors = 1, [1]
    while True:
        sides = (-(-level.shape[y] // step), -(-level.shape[y + 1] // step))
        whole = (*level.shape[:y], *sides, *level.shape[y + 2 :])
        made = create_array(f"{group}/{len(factors) - 1}", (whole, np.dtype(dtype), axes))
        grid = Grid(sides, SHARD)
        of_plane = len(axes) - y
        planes = (sections_of(level, of_plane), sections_of(made, of_plane))
        for plane, reduced in zip(*planes, strict=True):
            _reduce(plane, step, reduced, grid, threads)
        level, step = made, 2
        if max(sides) <= SMALLEST_LEVEL:
            return factors
        factors.append(2 * factors[-1])


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
