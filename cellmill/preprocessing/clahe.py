"""Contrast-limited adaptive histogram equalisation of each channel (CLAHE).

Source: K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV (1994),
with the roundings of scikit-image 0.25.2, whose result this equals bit for bit: a bin that differs
moves a pixel by about 0.01.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads

GREYS = 2**14
BINS = 256
_CLIP = 0.01
_PIECE = 1024


@dataclass(frozen=True)
class Span:
    """What of a channel's values becomes 0 to 1.

    Args:
        low: becomes 0; a float32 value.
        high: becomes 1; a float32 value.
        limit: values above are clipped to it before, in the image's dtype; `None` clips nothing.
    """

    low: float
    high: float
    limit: float | int | None = None

    @property
    def is_blank(self) -> bool:
        """Whether the channel has one value only and becomes zeros."""
        return self.low == self.high


@dataclass(frozen=True)
class Regions:
    """The regions of an image whose histograms are equalised, from the image's first pixel on.

    Regions that reach beyond the last pixel go on in the image's mirror image.

    Args:
        shape: `(Y, X)` of the image.
        kernel_size: side of a region in pixels; 0 is an eighth of each side of the image.
    """

    shape: tuple[int, int]
    kernel_size: int = 0

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a region."""
        high, wide = (self.kernel_size or max(side // 8, 1) for side in self.shape)
        return high, wide

    @property
    def counts(self) -> tuple[int, int]:
        """How many regions there are down and across."""
        rows, columns = (-(-n // side) for n, side in zip(self.shape, self.sides, strict=True))
        return rows, columns

    @property
    def limit(self) -> int:
        """The most pixels of a region that a bin keeps."""
        return int(max(_CLIP * (self.sides[0] * self.sides[1]), 1))

    def around(self, box: Box) -> Box:
        """The regions, as rows and columns, that the pixels of a box are interpolated between."""
        edges: list[int] = []
        for start, stop, side, count in zip(
            (box.y0, box.x0), (box.y1, box.x1), self.sides, self.counts, strict=True
        ):
            first = (start + side // 2) // side - 1
            last = (stop - 1 + side // 2) // side
            edges += [max(first, 0), min(last, count - 1) + 1]
        return Box(*edges)

    def pixels(self, regions: Box) -> Box:
        """The pixels that some regions hold, those mirrored in included."""
        edges: list[int] = []
        for start, stop, side, length in zip(
            (regions.y0, regions.x0), (regions.y1, regions.x1), self.sides, self.shape, strict=True
        ):
            places = _mirrored(start * side, stop * side, length)
            edges += [int(places.min()), int(places.max()) + 1]
        return Box(*edges)

    def maps(self, bins: Callable[[Box], np.ndarray], regions: Box) -> np.ndarray:
        """The grey value of each bin in each of some regions.

        Args:
            bins: gives the bins of a box of pixels, `(Y, X)` uint8.
            regions: rows and columns of regions.

        Returns:
            `(rows, columns, 256)` uint16.
        """
        high, wide = self.sides
        maps = np.empty((*regions.shape, BINS), np.uint16)
        ys = _mirrored(regions.y0 * high, regions.y1 * high, self.shape[0])
        # Regions wider than a piece are counted piece by piece, so that no window is larger.
        group = max(_PIECE // wide, 1)
        for k in range(regions.shape[0]):
            for j in range(0, regions.shape[1], group):
                some = min(group, regions.shape[1] - j)
                first = regions.x0 + j
                xs = _mirrored(first * wide, (first + some) * wide, self.shape[1])
                counts = np.zeros((some, BINS), np.int64)
                for rows in _pieces(ys[k * high : (k + 1) * high]):
                    for columns in _pieces(xs) if some == 1 else [xs]:
                        y, x = int(rows.min()), int(columns.min())
                        window = bins(Box(y, int(rows.max()) + 1, x, int(columns.max()) + 1))
                        _count(window, rows - y, columns - x, counts)
                _map(counts, self.limit, high * wide, maps[k, j : j + some])
        return maps


def bins_of(pixels: np.ndarray, span: Span) -> np.ndarray:
    """The histogram bin of each pixel.

    Args:
        pixels: `(Y, X)` of a channel that is not blank, integer or float.
        span: of the whole channel.

    Returns:
        `(Y, X)` uint8.
    """
    if span.limit is not None:
        pixels = np.minimum(pixels, np.asarray(span.limit).astype(pixels.dtype))
    if pixels.dtype.itemsize > 4:
        pixels = pixels.astype(np.float32)
    bins = np.empty(pixels.shape, np.uint8)
    _quantise(pixels, np.float32(span.low), np.float32(span.high - span.low), _TO_BIN, bins)
    return bins


def greys_of(
    bins: np.ndarray, box: Box, regions: Regions, maps: np.ndarray, first: tuple[int, int]
) -> np.ndarray:
    """Equalise the bins of a box of pixels.

    Args:
        bins: `(Y, X)` uint8.
        box: where they are.
        regions: of the image.
        maps: `(rows, columns, 256)` of at least the regions `regions.around(box)`.
        first: row and column of the first region in `maps`.

    Returns:
        `(Y, X)` uint16, 0 to 2¹⁴ - 1.
    """
    greys = np.empty(bins.shape, np.uint16)
    weights = np.arange(regions.sides[1]) / regions.sides[1]
    _interpolate(
        bins, maps, (*regions.sides, *regions.counts), (box.y0, box.x0), first, weights, greys
    )
    return greys


def values_of(least: int, most: int) -> np.ndarray:
    """The value, 0 to 1, of each grey value, if the channel's go from `least` to `most`.

    Returns:
        `(2¹⁴,)` float32.
    """
    values: np.ndarray = np.arange(GREYS, dtype=np.float32)
    if least != most:
        values = (values - np.float32(least)) / np.float32(most - least)
    return np.clip(values, 0, 1)


def equalize(channel: np.ndarray, span: Span, kernel_size: int, out: np.ndarray) -> None:
    """Equalise a channel that is in memory, in bands, holding its bins and grey values.

    Args:
        channel: `(Y, X)`, integer or float.
        span: of its values.
        kernel_size: side of CLAHE's window in pixels; 0 is an eighth of each side of the image.
        out: `(Y, X)` float32, zeros; filled.
    """
    if span.is_blank:
        return
    height, width = channel.shape
    regions = Regions((height, width), kernel_size)
    rows, columns = regions.counts
    bins = np.empty(channel.shape, np.uint8)
    greys = np.empty(channel.shape, np.uint16)
    maps = np.empty((rows, columns, BINS), np.uint16)

    def quantise(cut: tuple[int, int]) -> None:
        bins[slice(*cut)] = bins_of(channel[slice(*cut)], span)

    def equalise(cut: tuple[int, int]) -> tuple[int, int]:
        box = Box(*cut, 0, width)
        greys[box.slices] = found = greys_of(bins[box.slices], box, regions, maps, (0, 0))
        return int(found.min()), int(found.max())

    def read(box: Box) -> np.ndarray:
        return bins[box.slices]

    def map_row(k: int) -> None:
        maps[k] = regions.maps(read, Box(k, k + 1, 0, columns))[0]

    cuts = bands(height, per_thread=4)
    in_threads(quantise, cuts)
    in_threads(map_row, range(rows))
    extremes = in_threads(equalise, cuts)
    values = values_of(min(e[0] for e in extremes), max(e[1] for e in extremes))
    in_threads(lambda cut: look_up(values, greys[slice(*cut)], out[slice(*cut)]), cuts)


def _mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """The pixel at each place of an axis that goes on beyond its end in its mirror image."""
    period = max(2 * (length - 1), 1)
    places = np.arange(start, stop) % period
    return np.minimum(places, period - places)


def _pieces(places: np.ndarray) -> list[np.ndarray]:
    return [places[i : i + _PIECE] for i in range(0, len(places), _PIECE)]


def _bins_of_uint16() -> np.ndarray:
    """Bin of each level of 16 bits: by way of 2¹⁴ levels, of which 65 make a bin."""
    levels = np.arange(2**16) / (2.0**16 - 1) * (GREYS - 1)
    return (np.round(levels).astype(np.uint16) // (1 + GREYS // BINS)).astype(np.uint8)


_TO_BIN = _bins_of_uint16()


@kernel
def _quantise(pixels, low, scale, to_bin, bins):  # type: ignore[no-untyped-def]
    width = pixels.shape[1]
    levels = np.empty(width, np.float32)
    for y in range(pixels.shape[0]):
        for x in range(width):
            levels[x] = np.rint((np.float32(pixels[y, x]) - low) / scale * np.float32(65535))
        for x in range(width):
            bins[y, x] = to_bin[np.uint16(levels[x])]


@kernel
def _count(bins, rows, columns, counts):  # type: ignore[no-untyped-def]
    """Add rows of pixels to the histograms of regions that lie side by side."""
    wide = len(columns) // counts.shape[0]
    for y in rows:
        row = bins[y]
        for j in range(counts.shape[0]):
            histogram = counts[j]
            first = columns[j * wide]
            if columns[(j + 1) * wide - 1] - first == wide - 1:
                for x in range(first, first + wide):
                    histogram[row[x]] += 1
            else:
                for i in range(j * wide, (j + 1) * wide):
                    histogram[row[columns[i]]] += 1


@kernel
def _map(counts, limit, size, maps):  # type: ignore[no-untyped-def]
    """Cumulate clipped histograms."""
    scale = (GREYS - 1) / size
    for j in range(counts.shape[0]):
        _clip(counts[j], limit)
        total = 0
        for b in range(BINS):
            total += counts[j, b]
            maps[j, b] = np.floor(min(total * scale, GREYS - 1.0))


@kernel
def _clip(counts, limit):  # type: ignore[no-untyped-def]
    """Cut counts off at the limit and share out what was above, bin by bin in rounds."""
    excess = 0
    for b in range(BINS):
        if counts[b] > limit:
            excess += counts[b] - limit
            counts[b] = limit
    share = excess // BINS
    upper = limit - share
    for b in range(BINS):
        if counts[b] < upper:
            counts[b] += share
            excess -= share
        # Whoever comes this near by the share is filled up as well.
        if upper <= counts[b] < limit:
            excess -= limit - counts[b]
            counts[b] = limit
    while excess > 0:
        before = excess
        for first in range(BINS):
            below = 0
            for b in range(BINS):
                below += counts[b] < limit
            step = max(1, below // excess)
            for b in range(first, BINS, step):
                if counts[b] < limit:
                    counts[b] += 1
                    excess -= 1
            if excess <= 0:
                break
        if excess == before:
            break


@kernel
def _interpolate(bins, maps, regions, origin, first, weights, greys):  # type: ignore[no-untyped-def]
    """Weigh the maps of the four regions around each pixel."""
    high, wide, rows, columns = regions
    width = bins.shape[1]
    for y in range(bins.shape[0]):
        block, offset = divmod(origin[0] + y + high // 2, high)
        above = maps[max(block - 1, 0) - first[0]]
        below = maps[min(block, rows - 1) - first[0]]
        down = offset / high
        up = 1 - down
        x = 0
        while x < width:
            block, offset = divmod(origin[1] + x + wide // 2, wide)
            left = max(block - 1, 0) - first[1]
            right = min(block, columns - 1) - first[1]
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
                greys[y, i] = np.uint16(grey)
            x = end


@kernel
def look_up(values, greys, out):  # type: ignore[no-untyped-def]
    """Put values in the place of grey values."""
    for y in range(greys.shape[0]):
        for x in range(greys.shape[1]):
            out[y, x] = values[greys[y, x]]
