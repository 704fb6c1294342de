"""Contrast-limited adaptive histogram equalisation of each channel (CLAHE).

Source: K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV (1994),
with the roundings of scikit-image 0.25.2, whose result this equals bit for bit: a bin that differs
moves a pixel by about 0.01.
"""

from __future__ import annotations

import numpy as np

from cellmill.compiled import bands, in_threads, kernel

_GREYS = 2**14
_BINS = 256
_CLIP = 0.01


def equalize_channels(image: np.ndarray, kernel_size: int = 0) -> np.ndarray:
    """Rescale each channel to 0–1 in float32 and equalise it; a constant channel becomes zeros.

    It needs whole channels: the rescaling before and after CLAHE is global, so equalising tile by
    tile gives another image.

    Args:
        image: `(Y, X, C)`, integer or float.
        kernel_size: side of CLAHE's window in pixels; 0 is an eighth of each side of the image.

    Returns:
        `(Y, X, C)` float32, 0 to 1.
    """
    equalized = np.zeros(image.shape, np.float32)
    for c in range(image.shape[-1] if image.size else 0):
        _equalize(image[..., c], kernel_size, equalized[..., c])
    return equalized


def _equalize(channel: np.ndarray, kernel_size: int, out: np.ndarray) -> None:
    if channel.dtype.kind not in "iuf" or channel.dtype.itemsize not in (1, 2, 4):
        channel = channel.astype(np.float32)
    cuts = bands(len(channel))
    extremes = in_threads(lambda cut: _extremes(channel[slice(*cut)]), cuts)
    low, high = np.float32(min(e[0] for e in extremes)), max(e[1] for e in extremes)
    if low == high:
        return
    sides = [kernel_size or max(side // 8, 1) for side in channel.shape]
    bins = np.empty(channel.shape, np.uint8)
    to_bin, scale = _bins_of_uint16(), np.float32(float(high) - float(low))
    in_threads(lambda cut: _quantise(channel, low, scale, to_bin, bins, *cut), cuts)

    # Windows of the histograms start at the image's first pixel and go on in its mirror image.
    counts = [-(-length // side) for length, side in zip(channel.shape, sides, strict=True)]
    rows, columns = (
        np.pad(np.arange(length), (0, count * side - length), mode="reflect")
        for length, count, side in zip(channel.shape, counts, sides, strict=True)
    )
    limit = int(max(_CLIP * (sides[0] * sides[1]), 1))
    maps = np.empty((*counts, _BINS), np.float64)
    in_threads(
        lambda k: _map_windows(bins, rows, columns, sides[0], sides[1], limit, maps, k),
        range(counts[0]),
    )
    greys = np.empty(channel.shape, np.uint16)
    weights = np.arange(sides[1]) / sides[1]
    extremes = in_threads(
        lambda cut: _interpolate(bins, maps, sides[0], sides[1], weights, greys, *cut), cuts
    )
    least, most = min(e[0] for e in extremes), max(e[1] for e in extremes)
    values: np.ndarray = np.arange(_GREYS, dtype=np.float32)
    if least != most:
        values = (values - np.float32(least)) / np.float32(most - least)
    values = np.clip(values, 0, 1)
    in_threads(lambda cut: _look_up(values, greys, out, *cut), cuts)


def _bins_of_uint16() -> np.ndarray:
    """Bin of each level of 16 bits: by way of 2¹⁴ levels, of which 65 make a bin."""
    levels = np.arange(2**16) / (2.0**16 - 1) * (_GREYS - 1)
    return (np.round(levels).astype(np.uint16) // (1 + _GREYS // _BINS)).astype(np.uint8)


@kernel
def _extremes(channel):  # type: ignore[no-untyped-def]
    low = high = np.float32(channel[0, 0])
    for y in range(channel.shape[0]):
        for x in range(channel.shape[1]):
            value = np.float32(channel[y, x])
            low = value if value < low else low
            high = value if value > high else high
    return low, high


@kernel
def _quantise(channel, low, scale, to_bin, bins, start, stop):  # type: ignore[no-untyped-def]
    width = channel.shape[1]
    levels = np.empty(width, np.float32)
    for y in range(start, stop):
        for x in range(width):
            levels[x] = np.rint((np.float32(channel[y, x]) - low) / scale * np.float32(65535))
        for x in range(width):
            bins[y, x] = to_bin[np.uint16(levels[x])]


@kernel
def _map_windows(bins, rows, columns, high, wide, limit, maps, k):  # type: ignore[no-untyped-def]
    """Grey value of each bin in the windows of row `k`: cumulated clipped histograms."""
    scale = (_GREYS - 1) / (high * wide)
    counts = np.zeros((maps.shape[1], _BINS), np.int64)
    whole = bins.shape[1] // wide
    for i in range(k * high, (k + 1) * high):
        row = bins[rows[i]]
        for j in range(whole):
            histogram = counts[j]
            for x in range(j * wide, (j + 1) * wide):
                histogram[row[x]] += 1
        for j in range(whole, maps.shape[1]):
            for x in range(j * wide, (j + 1) * wide):
                counts[j, row[columns[x]]] += 1
    for j in range(maps.shape[1]):
        _clip(counts[j], limit)
        total = 0
        for b in range(_BINS):
            total += counts[j, b]
            maps[k, j, b] = np.floor(min(total * scale, _GREYS - 1.0))


@kernel
def _clip(counts, limit):  # type: ignore[no-untyped-def]
    """Cut counts off at the limit and share out what was above, bin by bin in rounds."""
    excess = 0
    for b in range(_BINS):
        if counts[b] > limit:
            excess += counts[b] - limit
            counts[b] = limit
    share = excess // _BINS
    upper = limit - share
    for b in range(_BINS):
        if counts[b] < upper:
            counts[b] += share
            excess -= share
        # Whoever comes this near by the share is filled up as well.
        if upper <= counts[b] < limit:
            excess -= limit - counts[b]
            counts[b] = limit
    while excess > 0:
        before = excess
        for first in range(_BINS):
            below = 0
            for b in range(_BINS):
                below += counts[b] < limit
            step = max(1, below // excess)
            for b in range(first, _BINS, step):
                if counts[b] < limit:
                    counts[b] += 1
                    excess -= 1
            if excess <= 0:
                break
        if excess == before:
            break


@kernel
def _interpolate(bins, maps, high, wide, weights, greys, start, stop):  # type: ignore[no-untyped-def]
    """Weigh the maps of the four windows around each pixel; least and greatest result."""
    least, most = np.uint16(_GREYS), np.uint16(0)
    width = bins.shape[1]
    for y in range(start, stop):
        block, offset = divmod(y + high // 2, high)
        above = maps[max(block - 1, 0)]
        below = maps[min(block, maps.shape[0] - 1)]
        down = offset / high
        up = 1 - down
        x = 0
        while x < width:
            block, offset = divmod(x + wide // 2, wide)
            left, right = max(block - 1, 0), min(block, maps.shape[1] - 1)
            above_left, above_right = above[left], above[right]
            below_left, below_right = below[left], below[right]
            end = min(width, x + wide - offset)
            for i in range(x, end):
                to_right = weights[offset + i - x]
                to_left = 1 - to_right
                b = bins[y, i]
                # Four terms in this order, each rounded: the sum's last bit decides the grey value.
                grey = np.float32(above_left[b] * (to_left * up))
                grey += np.float32(above_right[b] * (to_right * up))
                grey += np.float32(below_left[b] * (to_left * down))
                grey += np.float32(below_right[b] * (to_right * down))
                value = np.uint16(grey)
                greys[y, i] = value
                least, most = min(least, value), max(most, value)
            x = end
    return least, most


@kernel
def _look_up(values, greys, out, start, stop):  # type: ignore[no-untyped-def]
    for y in range(start, stop):
        for x in range(greys.shape[1]):
            out[y, x] = values[greys[y, x]]
