"""Confusion and boundaries of classes of voxels, plane by plane.

A boundary voxel has one of six neighbours of another class; it is matched when a boundary voxel of
the other volume lies within the tolerance, by lengths: planes count as far apart as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from cellmill.arrays.rows import row_bands
from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.metrics.boundary import boundary_mask, dilated, disk

Pair = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""True and predicted places of classes, `(Y, X)` each."""

Places = Callable[[npt.NDArray, npt.NDArray], Pair]
"""Gives them, of true and predicted values."""


def count_classes(
    volumes: tuple[Windowed, Windowed],
    places: Places,
    classes: int,
    tolerance_px: float,
    depth: float,
    memory_mib: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count pairs of classes and boundary voxels of two volumes.

    Args:
        volumes: true and predicted values of classes, `(Z, Y, X)`.
        places: gives the places of classes from 1 on, of the true also 0, unlabelled.
        classes: how many.
        tolerance_px: how far apart boundaries may lie, in pixels of a plane.
        depth: how many pixels planes are apart.
        memory_mib: what this may take.

    Returns:
        The confusion `(classes + 1, classes)`, unlabelled voxels first; and of each class true
        boundary voxels, those matched, and the same of the predicted, `(classes, 4)`; int64.
    """
    reach = int(tolerance_px / depth)
    disks = [
        disk(math.sqrt(max(tolerance_px**2 - (step * depth) ** 2, 0))) for step in range(reach + 1)
    ]
    held = 2 * reach + 3
    bands = row_bands(
        (volumes[0].shape[1], volumes[0].shape[2]),
        bytes_per_pixel=held * (8 + 2 * classes) + 64,
        memory_mib=memory_mib,
        halo=int(tolerance_px) + 1,
    )
    confusion = np.zeros((classes + 1, classes), np.int64)
    outlines = np.zeros((classes, 4), np.int64)
    for band in bands:
        planes = _Planes(volumes, places, band.window, classes)
        for z in range(volumes[0].shape[0]):
            true, found = (each[band.inner] for each in planes.pair(z))
            pairs = true.astype(np.int64) * classes + found - 1
            confusion += np.bincount(pairs.ravel(), minlength=confusion.size).reshape(
                confusion.shape
            )
            work = partial(_matched, planes.around(z, reach), disks, band.inner)
            outlines += np.array(in_threads(work, range(classes)), np.int64)
            planes.forget(z, reach)
    return confusion, outlines


class _Planes:
    """Places and boundaries of some rows of two volumes, each plane looked at once."""

    def __init__(
        self, volumes: tuple[Windowed, Windowed], places: Places, rows: slice, classes: int
    ) -> None:
        self._volumes, self._places = volumes, places
        self._rows, self._classes = rows, classes
        self._pairs: dict[int, Pair] = {}
        self._lines: dict[int, npt.NDArray[np.bool_]] = {}

    def pair(self, z: int) -> Pair:
        """The places in a plane."""
        if z not in self._pairs:
            true, found = (np.asarray(volume[z, self._rows]) for volume in self._volumes)
            self._pairs[z] = self._places(true, found)
        return self._pairs[z]

    def around(self, z: int, reach: int) -> dict[int, npt.NDArray[np.bool_]]:
        """Boundaries in a plane and those near it, by how far off: `(2, classes, Y, X)`."""
        count = self._volumes[0].shape[0]
        near = {step: z + step for step in range(-reach, reach + 1) if 0 <= z + step < count}
        return {step: self._boundaries(at) for step, at in near.items()}

    def forget(self, z: int, reach: int) -> None:
        """Forget what planes behind one do not need."""
        self._pairs.pop(z - 1, None)
        self._lines.pop(z - reach, None)

    def _boundaries(self, z: int) -> npt.NDArray[np.bool_]:
        if z not in self._lines:
            beside = [at for at in (z - 1, z + 1) if 0 <= at < self._volumes[0].shape[0]]
            found = []
            for which, own in enumerate(self.pair(z)):
                edge = boundary_mask(own)
                for at in beside:
                    edge |= own != self.pair(at)[which]
                found.append([edge & (own == k) for k in range(1, self._classes + 1)])
            self._lines[z] = np.array(found)
        return self._lines[z]


def _matched(
    lines: dict[int, npt.NDArray[np.bool_]],
    disks: list[npt.NDArray[np.uint8]],
    inner: slice,
    place: int,
) -> list[int]:
    """Boundary voxels of a class in a plane, and those near the other's: true, then predicted."""
    counts = []
    for which in (0, 1):
        own = lines[0][which, place]
        near = np.zeros_like(own)
        for step, each in lines.items():
            near |= dilated(each[1 - which, place], disks[abs(step)])
        counts += [int(np.count_nonzero(part[inner])) for part in (own, own & near)]
    return counts
