"""Boxes of polygons and polyhedra, and which of them reach where.

Boxes are integers `(N, 4)` or `(N, 6)`: least and greatest y, x or z, y, x, both within. Limits are
one such box.
"""

from __future__ import annotations

import numpy as np

from cellmill.arrays.windows import Box


def reach(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Which boxes share a pixel with another."""
    found = (boxes[:, ::2] <= limits[1::2]) & (boxes[:, 1::2] >= limits[::2])
    return np.asarray(found.all(axis=1))


def within(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Which boxes lie within another."""
    found = (boxes[:, ::2] >= limits[::2]) & (boxes[:, 1::2] <= limits[1::2])
    return np.asarray(found.all(axis=1))


def as_limits(box: Box) -> np.ndarray:
    """A box's least and greatest pixel along each axis; far out where it is open."""
    return np.array([edge for start, stop in box.edges for edge in (start, stop - 1)])


def union(boxes: np.ndarray) -> np.ndarray:
    """The box around boxes; of none one that nothing reaches."""
    found = np.empty(boxes.shape[1], np.int64)
    far = np.iinfo(np.int32).max
    found[::2], found[1::2] = far, -far
    if len(boxes):
        found[::2], found[1::2] = boxes[:, ::2].min(axis=0), boxes[:, 1::2].max(axis=0)
    return found
