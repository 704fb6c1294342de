"""Otsu's threshold (IEEE Transactions on Systems, Man, and Cybernetics 9, 1979).

Values are counted in bins that are centred on the lowest and the highest of them and on as many
equal steps between. Counts of parts of an image add up to those of the whole.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads

BINS = 256


def centred_histogram(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Count the values of an image in `BINS` bins centred on `low`, …, `high`.

    Args:
        image: float32 of any shape, its values within `low` and `high`.
        low: the lowest value of the whole, a float32.
        high: the highest value of the whole, a float32, above `low`.

    Returns:
        int64 `(BINS,)`.
    """
    flat = image.reshape(-1)
    ends = np.float32(low), np.float32(high)
    counts = np.zeros(BINS, np.int64)
    for part in in_threads(lambda cut: _count(flat[slice(*cut)], *ends), bands(flat.size, 1 << 16)):
        counts += part
    return counts


def otsu_threshold(counts: np.ndarray, low: float, high: float) -> float:
    """Find the bin that parts values best into two classes: those above its centre are one.

    Args:
        counts: as `centred_histogram` gives them.
        low: the centre of the first bin.
        high: the centre of the last bin.

    Returns:
        The centre of the first bin with the greatest variance between the classes, as float32.
    """
    low, high = float(low), float(high)
    centres = low + np.arange(BINS) * (high - low) / (BINS - 1)
    weighted = counts * centres
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[-2::-1]
    mean_below = np.cumsum(weighted)[:-1] / np.maximum(below, 1)
    mean_above = np.cumsum(weighted[::-1])[-2::-1] / np.maximum(above, 1)
    between = below.astype(float) * above * (mean_below - mean_above) ** 2
    return float(np.float32(centres[np.argmax(between)]))


@kernel
def _count(flat, low, high):  # type: ignore[no-untyped-def]
    counts = np.zeros(BINS, np.int64)
    steps = np.float32(BINS - 1)
    for value in flat:
        place = np.float32(np.float32((value - low) * steps) / (high - low))
        counts[min(max(int(place + 0.5), 0), BINS - 1)] += 1
    return counts
