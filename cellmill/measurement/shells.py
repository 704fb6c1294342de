"""Local background of the objects of a volume: the median of a shell around each.

The shell is made of background voxels that are nearest to the object, farther away than an inner
radius and no farther than an outer one. Radii are in pixels of a plane; along z they have the same
length in microns where the voxel size is known. Each object is looked at by itself, in its box and
what is around it; a large one part by part, each with what reaches into it. Which of several
nearest voxels counts is decided by their order alone, so that parts change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.measurement.solids import Solids

#: Boxes of more voxels are worked on in parts, and the side of a part.
_LARGE, _PART = 1 << 21, 64


def shell_medians(
    labels: Windowed,
    others: Sequence[Windowed],
    image: Windowed,
    solids: Solids,
    radii: tuple[int, int],
    voxel: tuple[float, ...],
) -> npt.NDArray[np.float64]:
    """Take the median of each object's shell in each channel.

    Args:
        labels: `(Z, Y, X)`.
        others: label volumes of other kinds of object, which are no background either.
        image: `(Z, Y, X, C)`.
        solids: the objects of `labels`.
        radii: inner and outer, in pixels of a plane.
        voxel: size of a voxel along z, y and x; only their ratios count.

    Returns:
        `(N, C)`, NaN without a shell.
    """
    step = np.array(voxel) / min(voxel[-2:])
    # What is nearer to another object lies no farther from that than from this one.
    margins = np.array([math.floor(2 * radii[1] / each) + 1 for each in step])
    shape = labels.shape
    medians = np.full((len(solids), image.shape[-1]), np.nan)

    def take(row: int) -> None:
        box = solids.boxes[row, :3] - margins, solids.boxes[row, 3:] + margins
        low, high = np.maximum(box[0], 0), np.minimum(box[1], shape)
        found = []
        for part in _parts(low, high):
            first = np.maximum(part[0] - margins, low)
            window = _slices(first, np.minimum(part[1] + margins, high))
            inner = _slices(part[0] - first, part[1] - first)
            around = np.asarray(labels[window])
            if not (around == solids.labels[row]).any():
                continue
            distances, places = ndimage.distance_transform_edt(
                around == 0, sampling=step, return_indices=True
            )
            nearest = around[tuple(each[inner] for each in places)]
            distances = distances[inner]
            shell = (distances > radii[0]) & (distances <= radii[1])
            shell &= nearest == solids.labels[row]
            own = _slices(*part)
            for other in others:
                shell &= np.asarray(other[own]) == 0
            if shell.any():
                found.append(np.asarray(image[own])[shell])
        if found:
            medians[row] = np.median(np.concatenate(found), axis=0)

    in_threads(take, range(len(solids)))
    return medians


def _parts(low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A box as parts, first and last corners, that are worked on one by one; a small one whole."""
    if np.prod(high - low) <= _LARGE:
        yield low, high
        return
    counts = [-(-int(side) // _PART) for side in high - low]
    for place in np.ndindex(*counts):
        first = low + np.array(place) * _PART
        yield first, np.minimum(first + _PART, high)


def _slices(low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
