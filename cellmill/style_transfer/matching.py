"""Matching grey values without learning: mean and standard deviation, or the whole histogram."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LEVELS = 256


def histogram(planes: Iterable[np.ndarray]) -> np.ndarray:
    """How often each grey value occurs, `(256,)` int64."""
    total = np.zeros(LEVELS, np.int64)
    for plane in planes:
        total += np.bincount(plane.ravel(), minlength=LEVELS)
    return total


def mean_and_sd(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of what was counted; the deviation is at least 1."""
    values = np.arange(LEVELS)
    mean = float(np.average(values, weights=counts))
    sd = float(np.average((values - mean) ** 2, weights=counts)) ** 0.5
    return mean, max(sd, 1.0)


def mean_sd_table(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What each grey value becomes so that mean and standard deviation match, `(256,)` float32.

    Args:
        source: histogram of what is given.
        target: histogram of what it is to look like.
    """
    (a, b), (c, d) = mean_and_sd(source), mean_and_sd(target)
    return ((np.arange(LEVELS) - a) * (d / b) + c).astype(np.float32)


def histogram_table(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What each grey value becomes so that the histograms match, `(256,)` float32."""
    given = (np.cumsum(source) - source / 2) / source.sum()
    wanted = (np.cumsum(target) - target / 2) / target.sum()
    return np.interp(given, wanted, np.arange(LEVELS)).astype(np.float32)


def histogram_distance(counts: np.ndarray, others: np.ndarray) -> float:
    """By how many grey values, in the mean, one histogram is moved to become another.

    It is Wasserstein's first distance, the area between the cumulative histograms.
    """
    rising, other = (np.cumsum(each) / each.sum() for each in (counts, others))
    return float(np.abs(rising - other).sum())
