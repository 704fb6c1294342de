"""Normalisation by percentiles of a channel's pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cellmill.compiled import bands, in_threads, kernel
from cellmill.errors import BadInput


def clip_above_percentile(image: np.ndarray, percentile: float) -> np.ndarray:
    """Clip each channel above a percentile of its non-zero pixels.

    The percentile is interpolated in float64 between the two nearest ranks and then cast to the
    image's dtype, as DeepCell's Mesmer does. A channel that is zero throughout stays so.

    Args:
        image: `(Y, X, C)`, integer or float; it is not changed.
        percentile: 0 to 100.

    Returns:
        `(Y, X, C)` of the same dtype.

    Raises:
        BadInput: the percentile lies outside 0 to 100.
    """
    if not 0 <= percentile <= 100:
        raise BadInput("percentile", expected="0 to 100", found=f"{percentile}")
    clipped = np.empty_like(image, subok=False)
    for c in range(image.shape[-1]):
        limit = _nonzero_percentile(image[..., c], percentile)
        _clip_channel(image[..., c], limit, clipped[..., c])
    return clipped


def rescale_between_percentiles(
    image: np.ndarray, low: float = 1.0, high: float = 99.8, *, clip: bool = False
) -> np.ndarray:
    """Map each channel linearly so that its percentiles `low` and `high` become 0 and 1.

    Where both percentiles are equal (most of the channel is one value) the channel's minimum and
    maximum stand in for them, and a constant channel becomes zeros.

    Args:
        image: `(Y, X, C)`, integer or float.
        low: percentile that becomes 0.
        high: percentile that becomes 1.
        clip: cut values off below 0 and above 1.

    Returns:
        `(Y, X, C)` float32.

    Raises:
        BadInput: not 0 ≤ low < high ≤ 100.
    """
    if not 0 <= low < high <= 100:
        raise BadInput("percentiles", expected="0 ≤ low < high ≤ 100", found=f"{low} and {high}")
    rescaled = np.zeros(image.shape, np.float32)
    for c in range(image.shape[-1] if image.size else 0):
        channel = image[..., c]
        bottom, top = np.percentile(channel, [low, high]).astype(np.float64)
        if top <= bottom:
            bottom, top = float(channel.min()), float(channel.max())
        if top > bottom:
            np.subtract(
                channel, bottom, out=rescaled[..., c], dtype=np.float64, casting="same_kind"
            )
            rescaled[..., c] /= np.float32(top - bottom)
    return np.clip(rescaled, 0, 1, out=rescaled) if clip else rescaled


def _clip_channel(channel: np.ndarray, limit: float | None, out: np.ndarray) -> None:
    if limit is None:
        out[:] = channel
        return
    highest = np.asarray(limit).astype(channel.dtype)
    in_threads(
        lambda cut: np.minimum(channel[slice(*cut)], highest, out=out[slice(*cut)]),
        bands(len(channel)),
    )


def _nonzero_percentile(channel: np.ndarray, percentile: float) -> float | None:
    """Percentile of the pixels that are not 0; `None` if all are."""
    if channel.dtype in (np.uint8, np.uint16):
        # Few levels: counting them is quicker than ordering the pixels.
        parts = in_threads(lambda cut: _histogram(channel[slice(*cut)]), bands(len(channel)))
        ends = np.cumsum(np.sum(parts, axis=0)[1:])
        if not ends[-1]:
            return None
        return _interpolated(
            int(ends[-1]),
            percentile,
            lambda first, second: (
                float(np.searchsorted(ends, first, side="right") + 1),
                float(np.searchsorted(ends, second, side="right") + 1),
            ),
        )
    values = channel[channel != 0]
    if not values.size:
        return None

    def pick(first: int, second: int) -> tuple[float, float]:
        ordered = np.partition(values, [first, second])
        # The difference is taken in the values' own dtype, as numpy does.
        return ordered[first], ordered[second]

    return _interpolated(values.size, percentile, pick)


def _interpolated(
    count: int, percentile: float, pick: Callable[[int, int], tuple[Any, Any]]
) -> float:
    """Linear interpolation between the two nearest ranks, in float64 whatever the dtype.

    numpy ≥ 2 interpolates float32 in float32 (NEP 50), which moves the last bit.

    Args:
        count: of the values.
        percentile: 0 to 100.
        pick: gives the values of two ranks.
    """
    position = (count - 1) * (percentile / 100)
    rank = int(np.floor(position))
    below, above = pick(rank, min(rank + 1, count - 1))
    step = float(above - below)
    part = position - rank
    # Counting from the nearer rank is numpy's rule; it decides the last bit.
    if part < 0.5:
        return float(below) + step * part
    return float(above) - step * (1 - part)


@kernel
def _histogram(channel):  # type: ignore[no-untyped-def]
    counts = np.zeros(1 << 16, np.int64)
    for y in range(channel.shape[0]):
        for x in range(channel.shape[1]):
            counts[channel[y, x]] += 1
    return counts
