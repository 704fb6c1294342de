"""Normalisation by percentiles of a channel's pixels."""

from __future__ import annotations

import numpy as np

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
        channel = image[..., c]
        values = channel[channel != 0]
        if values.size:
            limit = np.asarray(_percentile(values, percentile)).astype(image.dtype)
            np.minimum(channel, limit, out=clipped[..., c])
        else:
            clipped[..., c] = channel
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


def _percentile(values: np.ndarray, percentile: float) -> float:
    """Linear interpolation between the two nearest ranks, in float64 whatever the dtype.

    numpy ≥ 2 interpolates float32 in float32 (NEP 50), which moves the last bit.
    """
    position = (values.size - 1) * (percentile / 100)
    rank = int(np.floor(position))
    above = min(rank + 1, values.size - 1)
    ordered = np.partition(values, [rank, above])
    step = float(ordered[above] - ordered[rank])
    part = position - rank
    # Counting from the nearer rank is numpy's rule; it decides the last bit.
    if part < 0.5:
        return float(ordered[rank]) + step * part
    return float(ordered[above]) - step * (1 - part)
