"""Intensity of every object in every channel, from sums that add up over tiles.

Sums, minima and maxima of integer images are exact integers. The spread is added up as squared
deviations from each part's mean (Chan, Golub and LeVeque 1983, The American Statistician 37, 242),
which loses no digits where the intensities are large and nearly equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.measurement.runs import Runs
from cellmill.metrics.grouping import group_by


@dataclass(frozen=True)
class Intensities:
    """What is summed up for each object and channel, by ascending label.

    Args:
        labels: int64 `(N,)`.
        areas: pixels, int64 `(N,)`.
        sums: `(N, C)`, int64 for integer images, else float64.
        minima: `(N, C)`, of the same dtype.
        maxima: `(N, C)`, of the same dtype.
        squares: sums of squared deviations from the object's mean, float64 `(N, C)`.
    """

    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    sums: npt.NDArray
    minima: npt.NDArray
    maxima: npt.NDArray
    squares: npt.NDArray[np.float64]

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean intensities, `(N, C)`."""
        return self.sums / self.areas[:, None]

    @property
    def deviations(self) -> npt.NDArray[np.float64]:
        """Standard deviations over each object's pixels (divided by their number), `(N, C)`."""
        return np.sqrt(self.squares / self.areas[:, None])


def sum_intensities(image: npt.NDArray, runs: Runs) -> Intensities:
    """Sum up the intensities of the objects of an image.

    Args:
        image: `(Y, X, C)`, integers or floats.
        runs: the runs of its labels `(Y, X)`.
    """
    real = runs.labels > 0
    groups = group_by(runs.labels[real])
    of_run = groups.index()
    areas = groups.sum(runs.lengths[real])
    exact = np.int64 if image.dtype.kind in "bui" else np.float64
    channels: list[list[npt.NDArray]] = [[], [], [], []]
    for c in range(image.shape[2]):
        flat = image[:, :, c].ravel().astype(exact)
        if len(areas):
            sums = groups.sum(np.add.reduceat(flat, runs.starts)[real])
            means = np.zeros(len(runs.labels))
            means[real] = (sums / areas)[of_run]
            from_mean = flat - np.repeat(means, runs.lengths)
            squares = groups.sum(np.add.reduceat(from_mean**2, runs.starts)[real])
            minima = groups.min(np.minimum.reduceat(flat, runs.starts)[real])
            maxima = groups.max(np.maximum.reduceat(flat, runs.starts)[real])
        else:
            sums = minima = maxima = np.empty(0, exact)
            squares = np.empty(0)
        for kept, values in zip(channels, (sums, minima, maxima, squares), strict=True):
            kept.append(values)
    sums, minima, maxima, squares = (
        np.stack(kept, axis=1) if kept else np.empty((len(areas), 0)) for kept in channels
    )
    return Intensities(groups.keys, areas, sums, minima, maxima, squares)


def add_intensities(parts: Iterable[Intensities]) -> Intensities:
    """Add up the sums of disjoint parts of an image, at least one."""
    tables = list(parts)
    groups = group_by(np.concatenate([part.labels for part in tables]))
    areas = np.concatenate([part.areas for part in tables])
    sums = np.concatenate([part.sums for part in tables])
    total_areas, total_sums = groups.sum(areas), groups.sum(sums)
    shift = sums / areas[:, None] - (total_sums / total_areas[:, None])[groups.index()]
    squares = np.concatenate([part.squares for part in tables]) + areas[:, None] * shift**2
    return Intensities(
        groups.keys,
        total_areas,
        total_sums,
        groups.min(np.concatenate([part.minima for part in tables])),
        groups.max(np.concatenate([part.maxima for part in tables])),
        groups.sum(squares),
    )
