"""Images as they are shown: reduced by a whole factor, contrast-stretched, one or two colours.

Nothing here is measured on; it is for the eye only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput

MAX_SIDE = 4096
_STRIP_BYTES = 8 << 20
_BLOCK_PIXELS = 1 << 17
_LOW_PERCENTILE = 0.5
_HIGH_PERCENTILE = 99.5
_SAMPLE = 1 << 20


def block_rows(shape: Sequence[int]) -> int:
    """Return how many rows of an image `(Y, X, …)` a thread should work on at a time.

    So many stay in a processor's cache, and their memory is used again for the next ones: fresh
    memory for whole images costs more than the work.
    """
    return max(1, _BLOCK_PIXELS // max(1, shape[1]))


def reduction(shape: Sequence[int], max_side: int = MAX_SIDE) -> int:
    """Return the whole factor by which an image is reduced so that no side exceeds the bound.

    Args:
        shape: `(Y, X)` of the image, in px.
        max_side: longest side allowed, in px.
    """
    return max(1, -(-max(shape[:2]) // max_side))


@dataclass(frozen=True)
class Shown:
    """An image and its cells as they are shown.

    Attributes:
        factor: by how much they are reduced.
        base: the image, as `compose` gives it.
        labels: `(Y, X)` label images by compartment, of the same size.
    """

    factor: int
    base: np.ndarray
    labels: Mapping[str, np.ndarray]


def show(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int],
    max_side: int = MAX_SIDE,
) -> Shown:
    """Reduce an image and its labels within a bound.

    Args:
        image: `(Y, X, C)` of any real dtype.
        labels: `(Y, X)` label images by compartment.
        channels: indices into C to show.
        max_side: longest side, in px.

    Raises:
        BadInput: image and labels are not of one shape, or the image has no pixels.
    """
    check_shapes(image, labels)
    factor = reduction(image.shape, max_side)
    return Shown(
        factor=factor,
        base=compose(reduce_channels(image, channels, factor)),
        labels={name: reduce_labels(array, factor) for name, array in labels.items()},
    )


def reduce_channels(image: Windowed, channels: Sequence[int], factor: int) -> np.ndarray:
    """Average blocks of `factor × factor` pixels; the last block of a side may be smaller.

    Args:
        image: `(Y, X, C)` of any real dtype; it is read strip by strip.
        channels: indices into C to keep, in order.
        factor: side of a block, in px.

    Returns:
        float32 `(⌈Y / factor⌉, ⌈X / factor⌉, len(channels))`.
    """
    height, width = image.shape[:2]
    out = np.empty((-(-height // factor), -(-width // factor), len(channels)), np.float32)
    row_bytes = max(1, width * image.shape[2] * image.dtype.itemsize * factor)
    strip = max(1, _STRIP_BYTES // row_bytes)
    step = max(1, block_rows(image.shape) // factor)
    for first in range(0, out.shape[0], strip):
        last = min(first + strip, out.shape[0])
        read = np.asarray(image[first * factor : min(last * factor, height)])

        def reduce(row: int, read: np.ndarray = read, top: int = first, end: int = last) -> None:
            stop = min(row + step, end)
            some = read[(row - top) * factor : (stop - top) * factor]
            for place, channel in enumerate(channels):
                out[row:stop, :, place] = _block_means(some[..., channel], factor)

        in_threads(reduce, range(first, last, step))
    return out


def _block_means(channel: np.ndarray, factor: int) -> np.ndarray:
    block = channel.astype(np.float32)
    if factor == 1:
        return block
    sizes = []
    for axis in (0, 1):
        # Every factor-th line added up: some ten times faster than `np.add.reduceat`.
        lines = np.moveaxis(block, axis, 0)
        sums = lines[::factor].copy(order="K")
        for k in range(1, factor):
            more = lines[k::factor]
            sums[: len(more)] += more
        sizes.append(np.full(len(sums), factor, np.float32))
        sizes[axis][-1] -= len(sums) * factor - len(lines)
        block = np.moveaxis(sums, 0, axis)
    return block / np.outer(*sizes)


def reduce_labels(labels: Windowed, factor: int) -> np.ndarray:
    """Sample the label image at the middle pixel of each block of `factor × factor`.

    Args:
        labels: `(Y, X)` of an integer dtype; it is read strip by strip.
        factor: side of a block, in px.

    Returns:
        `(⌈Y / factor⌉, ⌈X / factor⌉)`, same dtype; it lies on `reduce_channels`' grid.
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
        channel: `(Y, X)`, any real dtype. Percentiles are of at most about a million pixels,
            taken evenly.

    Returns:
        uint8 `(Y, X)`; zeros where the channel is constant.
    """
    step = max(1, round((channel.size / _SAMPLE) ** 0.5))
    sample = channel[::step, ::step]
    low, high = np.percentile(sample, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
    if high <= low:
        low, high = float(channel.min()), float(channel.max())
    if high <= low:
        return np.zeros(channel.shape, np.uint8)
    out = np.empty(channel.shape, np.uint8)
    offset, gain = np.float32(low), np.float32(255 / (high - low))

    def scale(row: int) -> None:
        block = channel[row : row + rows].astype(np.float32)
        np.multiply(np.subtract(block, offset, out=block), gain, out=block)
        out[row : row + rows] = np.clip(np.rint(block, out=block), 0, 255, out=block)

    rows = block_rows(channel.shape)
    in_threads(scale, range(0, channel.shape[0], rows))
    return out


def compose(channels: np.ndarray) -> np.ndarray:
    """Stretch one channel to greys, or two to a composite in magenta and green.

    Magenta and green are told apart by colour-blind readers and share no primary, so either
    channel can be had back from the composite.

    Args:
        channels: `(Y, X, n)`; of more than two the first two are shown, of none, black.

    Returns:
        uint8 `(Y, X)` for greys, `(Y, X, 3)` for the composite.
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


def check_shapes(image: Windowed, labels: Mapping[str, Windowed]) -> None:
    """Refuse an image that is no `(Y, X, C)` with pixels, or label images of another shape."""
    if len(image.shape) != 3 or 0 in image.shape[:2]:
        raise BadInput("image", expected="(Y, X, C) with pixels", found=f"shape {image.shape}")
    for name, array in labels.items():
        if tuple(array.shape) != tuple(image.shape[:2]):
            raise BadInput(
                f"labels '{name}'", expected=f"shape {image.shape[:2]}", found=str(array.shape)
            )
