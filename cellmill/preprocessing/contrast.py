"""Which values of a channel become 0 and 1 by percentiles, also where few pixels show anything.

The upper percentile of an image fails in two ways. Where objects cover less of the image than lies
above it, it is a value of the background, and stretching to it turns noise into objects. Where a
few pixels are saturated, it may be one of them, and all the rest becomes dark. The card says how
far from the lower percentile it may lie: at least so many times the background's noise, at most so
many times as far as the 99th percentile. On images that have neither fault both limits are far
away and the percentile stands.
"""

from __future__ import annotations

import numpy as np

from cellmill.models.card import Preprocessing
from cellmill.preprocessing.levels import Levels

#: The percentile that outliers are told by: fewer pixels than lie above it are few.
_BULK = 99.0
#: Percentiles that the noise is told by, as objects seldom cover nine tenths of an image, and how
#: far each lies above the 1st, in standard deviations of normal noise. Of coarse values the first
#: may equal the lower percentile; the next then says more.
_NOISE = ((10.0, 1.045), (25.0, 1.652), (50.0, 2.326))
_LOW = 1.0


def percentiles_of(parameters: Preprocessing) -> tuple[float, ...]:
    """The percentiles of a channel that `stretched` needs, in its order."""
    wanted: tuple[float, ...] = (parameters.low, parameters.high)
    if parameters.noise_floor or parameters.outlier_limit:
        wanted += (_LOW, *(percentile for percentile, _ in _NOISE), _BULK)
    return wanted


def stretched(
    levels: Levels, parameters: Preprocessing, dtype: np.dtype
) -> tuple[float, float, str]:
    """Which values of a channel become 0 and 1.

    Args:
        levels: of the channel, with the percentiles of `percentiles_of`.
        parameters: the card's.
        dtype: of the pixels; whole numbers are no finer than 1.

    Returns:
        What becomes 0, what becomes 1, and one line for a person where the latter is not the
        card's percentile.
    """
    low, high, *rest = levels.percentiles
    note = ""
    if rest:
        first, *noisy, bulk = rest
        noise = _noise(first, noisy, dtype)
        least = low + parameters.noise_floor * noise
        most = low + parameters.outlier_limit * (bulk - low) if parameters.outlier_limit else high
        most = max(most, least)
        if high > most > low:
            note = (
                f"fewer than {100 - _BULK:g} % of the pixels are far brighter than the rest: "
                f"contrast is taken to {most:g}, not to the {parameters.high:g}th percentile, "
                f"{high:g}"
            )
            high = most
        elif high < least:
            note = (
                f"the darkest tenth of the pixels varies so much that the {parameters.high:g}th "
                f"percentile, {high:g}, may be noise: contrast is taken to {least:g} (greatest "
                f"value {levels.high:g})"
            )
            high = least
    if high <= low:
        # Most of the channel is one value: the rest is told from it by the extremes.
        low, high = float(levels.low), float(levels.high)
    return low, high, note


def _noise(first: float, noisy: list[float], dtype: np.dtype) -> float:
    """The standard deviation of the background, from the lower percentiles."""
    step = 0.0 if dtype.kind == "f" else 1.0
    for value, (_, deviations) in zip(noisy, _NOISE, strict=True):
        if value - first + step > 0:
            return (value - first + step) / deviations
    return 0.0
