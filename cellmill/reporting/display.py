"""Images as they are shown: reduced by a whole factor, contrast-stretched, one or two colours.

Nothing here is measured on; it is for the eye only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellmill.arrays.windows import Windowed

MAX_SIDE = 4096
_STRIP_BYTES = 32 << 20
_LOW_PERCENTILE = 0.5
_HIGH_PERCENTILE = 99.5
_SAMPLE = 1 << 20


def reduction(shape: Sequence[int], max_side: int = MAX_SIDE) -> int:
    """Return the whole factor by which an image is reduced so that no side exceeds the bound.

    Args:
        shape: ``(Y, X)`` of the image, in px.
        max_side: longest side allowed, in px.
    """
    return max(1, -(-max(shape[:2]) // max_side))


def reduce_channels(image: Windowed, channels: Sequence[int], factor: int) -> np.ndarray:
    """Average blocks of ``factor × factor`` pixels; the last block of a side may be smaller.

    Args:
        image: ``(Y, X, C)`` of any real dtype; it is read strip by strip.
        channels: indices into C to keep, in order.
        factor: side of a block, in px.

    Returns:
        float32 ``(⌈Y / factor⌉, ⌈X / factor⌉, len(channels))``.
    """
    height, width = image.shape[:2]
    out = np.empty((-(-height // factor), -(-width // factor), len(channels)), np.float32)
    row_bytes = max(1, width * len(channels) * 8 * factor)
    strip = max(1, _STRIP_BYTES // row_bytes)
    columns = np.arange(0, width, factor)
    column_sizes = np.diff(np.append(columns, width))
    for first in range(0, out.shape[0], strip):
        last = min(first + strip, out.shape[0])
        top, bottom = first * factor, min(last * factor, height)
        block = np.asarray(image[top:bottom])[..., list(channels)].astype(np.float32)
        if factor > 1:
            rows = np.arange(0, bottom - top, factor)
            row_sizes = np.diff(np.append(rows, bottom - top))
            block = np.add.reduceat(np.add.reduceat(block, rows, axis=0), columns, axis=1)
            block /= (row_sizes[:, None] * column_sizes[None, :])[..., None]
        out[first:last] = block
    return out


def reduce_labels(labels: Windowed, factor: int) -> np.ndarray:
    """Sample the label image at the middle pixel of each block of ``factor × factor``.

    Args:
        labels: ``(Y, X)`` of an integer dtype; it is read strip by strip.
        factor: side of a block, in px.

    Returns:
        ``(⌈Y / factor⌉, ⌈X / factor⌉)``, same dtype; it lies on ``reduce_channels``' grid.
    """
    height, width = labels.shape
    rows = np.minimum(np.arange(0, height, factor) + factor // 2, height - 1)
    columns = np.minimum(np.arange(0, width, factor) + factor // 2, width - 1)
    if factor == 1:
        return np.asarray(labels[:, :])
    out = np.empty((rows.size, columns.size), labels.dtype)
    # Bands of rows, not single ones: a store decodes whole chunks.
    high = max(factor, _STRIP_BYTES // (8 * width) // factor * factor)
    for top in range(0, height, high):
        inside = (rows >= top) & (rows < top + high)
        band = np.asarray(labels[top : min(top + high, height)])
        out[inside] = band[rows[inside] - top][:, columns]
    return out


def stretch(channel: np.ndarray) -> np.ndarray:
    """Stretch a channel linearly to 0–255 between its 0.5th and 99.5th percentiles.

    Args:
        channel: ``(Y, X)``, any real dtype. Percentiles are of at most about a million pixels,
            taken evenly.

    Returns:
        uint8 ``(Y, X)``; zeros where the channel is constant.
    """
    step = max(1, round((channel.size / _SAMPLE) ** 0.5))
    sample = channel[::step, ::step]
    low, high = np.percentile(sample, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
    if high <= low:
        low, high = float(channel.min()), float(channel.max())
    if high <= low:
        return np.zeros(channel.shape, np.uint8)
    scaled = (channel.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def compose(channels: np.ndarray) -> np.ndarray:
    """Stretch one channel to greys, or two to a composite in magenta and green.

    Magenta and green are told apart by colour-blind readers and share no primary, so either
    channel can be had back from the composite.

    Args:
        channels: ``(Y, X, n)``; of more than two the first two are shown, of none, black.

    Returns:
        uint8 ``(Y, X)`` for greys, ``(Y, X, 3)`` for the composite.
    """
    if channels.shape[2] == 0:
        return np.zeros(channels.shape[:2], np.uint8)
    first = stretch(channels[..., 0])
    if channels.shape[2] == 1:
        return first
    return np.stack([first, stretch(channels[..., 1]), first], axis=-1)


def shown_channels(segmentation_channels: Sequence[int], count: int) -> tuple[int, ...]:
    """Return which channels to show: those segmented, without blanks, at most two.

    Args:
        segmentation_channels: indices into C as handed to the model, -1 for a blank channel.
        count: C, the number of channels of the image.
    """
    real = [c for c in dict.fromkeys(segmentation_channels) if 0 <= c < count]
    return tuple(real[:2]) if real else tuple(range(min(count, 1)))
