"""How far two results agree."""

from __future__ import annotations

import numpy as np


def object_f1(true: np.ndarray, found: np.ndarray, threshold: float = 0.5) -> float:
    """Give F1 of the objects whose intersection over union is above the threshold.

    Above 0.5 an object overlaps one other at most, so no assignment has to be solved.

    Args:
        true: `(Y, X)` labels.
        found: `(Y, X)` labels.
        threshold: at least 0.5.

    Returns:
        0–1; 1 where both are empty.
    """
    true, found = true.ravel().astype(np.int64), found.ravel().astype(np.int64)
    pairs, overlap = np.unique(np.stack([true, found]), axis=1, return_counts=True)
    union = np.bincount(true)[pairs[0]] + np.bincount(found)[pairs[1]] - overlap
    matched = int(((pairs > 0).all(axis=0) & (overlap > threshold * union)).sum())
    objects = np.unique(true[true > 0]).size + np.unique(found[found > 0]).size
    return 2 * matched / objects if objects else 1.0


def largest_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Give the largest absolute difference; infinite where the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(np.subtract(one, other, dtype=np.float64)).max(initial=0.0))
