"""Local background of the objects of a volume: the median of a shell around each.

The shell is made of background voxels that are nearest to the object, farther away than an inner
radius and no farther than an outer one. Radii are in pixels of a plane; along z they have the same
length in microns where the voxel size is known. Each object is looked at by itself, in its box and
what is around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.measurement.solids import Solids


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
    margins = [math.floor(2 * radii[1] / each) + 1 for each in step]
    shape = labels.shape
    medians = np.full((len(solids), image.shape[-1]), np.nan)

    def take(row: int) -> None:
        low, high = solids.boxes[row, :3], solids.boxes[row, 3:]
        window = tuple(
            slice(max(int(a) - margin, 0), min(int(b) + margin, side))
            for a, b, margin, side in zip(low, high, margins, shape, strict=True)
        )
        around = np.asarray(labels[window])
        distances, places = ndimage.distance_transform_edt(
            around == 0, sampling=step, return_indices=True
        )
        shell = (distances > radii[0]) & (distances <= radii[1])
        shell &= around[tuple(places)] == solids.labels[row]
        for other in others:
            shell &= np.asarray(other[window]) == 0
        if shell.any():
            medians[row] = np.median(np.asarray(image[window])[shell], axis=0)

    in_threads(take, range(len(solids)))
    return medians
