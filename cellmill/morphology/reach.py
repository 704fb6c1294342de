"""Footprints of floods as steps from pixel to pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellmill.errors import BadInput


class Reach(NamedTuple):
    """A footprint as steps `(n, ndim)`, walked backwards; those to face neighbours come first.

    Attributes:
        margins: how far it reaches along each axis.
        steps: int64, the centre left out.
        faces: how many lead to face neighbours.
        near: how many lead to neighbours at most one pixel away along each axis.
        monotone: the footprint is all pixels between its members and its centre, faces among them,
            so that whoever has all face neighbours in a flood has nothing else to add to it.
        symmetric: ways may be walked both ways, so floods may learn from each other.
    """

    margins: tuple[int, ...]
    steps: np.ndarray
    faces: int
    near: int
    monotone: bool
    symmetric: bool

    @property
    def walk(self) -> np.ndarray:
        """The steps that a walk tries: the smallest and the largest."""
        return np.concatenate([self.steps[: self.near], self.steps[self.near :][-40:]])


def reach_of(footprint: np.ndarray | None, ndim: int) -> Reach:
    """What floods need to know of a footprint; `None` is a box of side 3.

    Raises:
        BadInput: a side is even, or it has not `ndim` dimensions.
    """
    footprint = np.ones((3,) * ndim, bool) if footprint is None else np.asarray(footprint, bool)
    if footprint.ndim != ndim or not all(side % 2 for side in footprint.shape):
        raise BadInput("footprint", expected=f"{ndim} odd sides", found=f"shape {footprint.shape}")
    margins = tuple(side // 2 for side in footprint.shape)
    # Ways are walked backwards, from a pixel to those whose value spreads to it.
    steps = np.array(margins) - np.argwhere(footprint)
    distance = np.abs(steps).sum(axis=1)
    far = np.abs(steps).max(axis=1, initial=0)
    order = np.lexsort((distance, far))
    steps, distance, far = (a[order][distance[order] > 0] for a in (steps, distance, far))
    members = {tuple(step) for step in steps.tolist()} | {(0,) * ndim}
    monotone = int((distance == 1).sum()) == 2 * ndim and all(
        (*step[:axis], step[axis] - int(np.sign(step[axis])), *step[axis + 1 :]) in members
        for step in members
        for axis in range(ndim)
    )
    return Reach(
        margins,
        steps,
        faces=int((distance == 1).sum()),
        near=int((far == 1).sum()),
        monotone=monotone,
        symmetric=all(tuple(-k for k in step) in members for step in members),
    )
