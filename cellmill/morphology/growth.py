"""Labels that grow from seeds through a mask until they meet.

Two steps, each with one solution that does not depend on the order in which pixels are visited, so
that parts of an image may be worked on by themselves and exchange the pixels along their seams
until nothing changes:

1. `relax` finds when each pixel is reached from the nearest seed (Rosenfeld and Pfaltz, Journal of
   the ACM 13, 1966: raster scans to and fro, here repeated, as paths turn within the mask).
2. `assign` gives it the label that reaches it then; of several labels the metric says which.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.compute.kernels import inlined, kernel

#: Arrivals are counted from here on; 0 is outside the mask.
SEED = 1
#: What the mask's pixels hold that no seed has reached.
FAR = np.iinfo(np.int32).max
#: Units of length in the distance of two pixels along the finest axis.
UNIT = 256


@dataclass(frozen=True)
class Metric:
    """How labels spread from a pixel to its neighbours over faces, edges and corners.

    Attributes:
        offsets: `(n, ndim)` int64, to each neighbour, in raster order.
        costs: `(n,)` int64: by how much later it is reached; 1 for all over faces where steps
            alternate, 2 for the others.
        alternating: steps over faces only and steps to all neighbours take turns, the first goes to
            all.
        largest: of labels that arrive together the largest counts, not the smallest.
    """

    offsets: np.ndarray
    costs: np.ndarray
    alternating: bool
    largest: bool

    @property
    def _arguments(self) -> tuple[np.ndarray, np.ndarray, bool]:
        # Images are volumes of one plane.
        flat = self.offsets.shape[1] == 2
        offsets = np.pad(self.offsets, ((0, 0), (1, 0))) if flat else self.offsets
        return offsets, self.costs, self.alternating


def path_metric(spacing: Sequence[float]) -> Metric:
    """Labels arrive in the order of the length of the path through the mask.

    Args:
        spacing: of the pixels along each axis, in any unit.
    """
    finest = min(spacing)
    offsets = _neighbours(len(spacing))
    lengths = np.sqrt((offsets**2 * (np.array(spacing) / finest) ** 2).sum(axis=1))
    costs = np.minimum(np.rint(UNIT * lengths), FAR // 4).astype(np.int64)
    return Metric(offsets, costs, alternating=False, largest=False)


def alternating_metric(ndim: int) -> Metric:
    """Labels take a step to all neighbours, one over faces, and so on; the largest label counts."""
    offsets = _neighbours(ndim)
    costs = np.where(np.abs(offsets).sum(axis=1) == 1, 1, 2).astype(np.int64)
    return Metric(offsets, costs, alternating=True, largest=True)


def start(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Give the arrivals before anything has spread: `SEED`, `FAR` in the mask, 0 outside.

    Args:
        mask: bool, any shape.
        seeds: integers of the same shape, labels in the mask, 0 elsewhere.

    Returns:
        int32 of the same shape.
    """
    arrivals = np.where(mask, np.int32(FAR), np.int32(0))
    arrivals[seeds != 0] = SEED
    return arrivals


def relax(arrivals: np.ndarray, metric: Metric) -> bool:
    """Lower arrivals to what the neighbours allow, until nothing changes; whether anything did.

    Args:
        arrivals: `(Y, X)` or `(Z, Y, X)` int32 or int64, `SEED`, `FAR` or what a path from a seed
            takes; its outermost pixels are as they are, all others are written to.
        metric: how labels spread.
    """
    return bool(_relax(_volume(arrivals), _inner(arrivals), *metric._arguments))


def assign(arrivals: np.ndarray, labels: np.ndarray, metric: Metric, last: int = FAR) -> bool:
    """Give pixels the labels that arrive when they are reached, until nothing changes.

    Args:
        arrivals: as `relax` left them.
        labels: integers of the same shape, those of seeds where arrivals are `SEED`; its outermost
            pixels are as they are, all others that are no seeds are written to.
        metric: how labels spread.
        last: what is reached later, or never, has no label.

    Returns:
        Whether anything changed.
    """
    last = min(last, FAR - 1)
    return bool(
        _assign(
            _volume(arrivals),
            _volume(labels),
            _inner(arrivals),
            *metric._arguments,
            metric.largest,
            last,
        )
    )


def last_arrival(present: np.ndarray) -> int:
    """When steps that alternate end: before the first in which no pixel of the image was reached.

    Args:
        present: the arrivals that there are, any shape.
    """
    found = np.unique(present)
    found = found[(found >= SEED) & (found < FAR)]
    gap = np.flatnonzero(np.diff(found) > 1)
    return int(found[gap[0]] if len(gap) else found.max(initial=SEED))


def grow_labels(mask: np.ndarray, seeds: np.ndarray, metric: Metric) -> np.ndarray:
    """Grow labels through a mask, in memory.

    Args:
        mask: bool, `(Y, X)` or `(Z, Y, X)`.
        seeds: int32 of the same shape, labels in the mask, 0 elsewhere.
        metric: how labels spread.

    Returns:
        int32 of the same shape; 0 outside the mask, and in parts of it without a seed.
    """
    arrivals = np.pad(start(mask, seeds), 1)
    labels = np.pad(seeds, 1)
    relax(arrivals, metric)
    last = last_arrival(arrivals) if metric.alternating else FAR
    assign(arrivals, labels, metric, last)
    return np.ascontiguousarray(labels[(slice(1, -1),) * labels.ndim])


def _neighbours(ndim: int) -> np.ndarray:
    steps = itertools.product((-1, 0, 1), repeat=ndim)
    return np.array([step for step in steps if any(step)], np.int64)


def _volume(array: np.ndarray) -> np.ndarray:
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def _inner(array: np.ndarray) -> tuple[int, int]:
    """The planes that are written to: all but the outermost, of an image the only one."""
    return (0, 1) if array.ndim == 2 else (1, array.shape[0] - 1)


@inlined
def _arrival(other, cost, alternating):  # type: ignore[no-untyped-def]
    """When what was reached at a time reaches a neighbour; even times are steps to all."""
    if not alternating:
        return other + cost
    return other + 1 if cost == 1 or other % 2 else other + 2


@kernel
def _relax(arrivals, planes, offsets, costs, alternating):  # type: ignore[no-untyped-def]
    _, height, width = arrivals.shape
    half = len(offsets) // 2
    changed, again = False, True
    while again:
        again = False
        for back in range(2):
            first = half * back
            for k in range(planes[1] - planes[0]):
                z = planes[1] - 1 - k if back else planes[0] + k
                for j in range(1, height - 1):
                    y = height - 1 - j if back else j
                    for i in range(1, width - 1):
                        x = width - 1 - i if back else i
                        here = arrivals[z, y, x]
                        if here <= SEED:
                            continue
                        best = np.int64(here)
                        for n in range(first, first + half):
                            other = np.int64(
                                arrivals[z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]]
                            )
                            if 0 < other < FAR:
                                best = min(best, _arrival(other, costs[n], alternating))
                        if best < here:
                            arrivals[z, y, x] = best
                            again = True
        changed |= again
    return changed


@kernel
def _assign(arrivals, labels, planes, offsets, costs, alternating, largest, last):  # type: ignore[no-untyped-def]
    _, height, width = arrivals.shape
    changed, again = False, True
    while again:
        again = False
        for back in range(2):
            for k in range(planes[1] - planes[0]):
                z = planes[1] - 1 - k if back else planes[0] + k
                for j in range(1, height - 1):
                    y = height - 1 - j if back else j
                    for i in range(1, width - 1):
                        x = width - 1 - i if back else i
                        here = arrivals[z, y, x]
                        if here == SEED:
                            continue
                        found = np.int64(0)
                        if SEED < here <= last:
                            for n in range(len(offsets)):
                                w, v = z + offsets[n, 0], y + offsets[n, 1]
                                u = x + offsets[n, 2]
                                other = np.int64(arrivals[w, v, u])
                                if not 0 < other < here:
                                    continue
                                label = np.int64(labels[w, v, u])
                                if _arrival(other, costs[n], alternating) != here or not label:
                                    continue
                                if not found or (label > found) == largest:
                                    found = label
                        if labels[z, y, x] != found:
                            labels[z, y, x] = found
                            again = True
        changed |= again
    return changed
