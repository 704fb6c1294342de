"""Intensity of every object in every channel, added up band by band in raster order.

Integer images of up to 16 bits are summed up exactly. All others are added up in float64: each
run along a row by itself, then the runs from the top to the bottom. Bands of whole rows cut no run,
so that the sums do not depend on the bands, to the last bit. Deviations are taken from a value of
the object itself, which loses no digits where intensities are large and nearly equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel


@dataclass(frozen=True)
class Intensities:
    """What is summed up for each object and channel, by ascending label.

    Args:
        areas: pixels, int64 `(N,)`.
        sums: `(N, C)`, int64 for integer images, else float64.
        minima: `(N, C)`, of the same dtype.
        maxima: `(N, C)`, of the same dtype.
        squares: sums of squared deviations from the object's mean, float64 `(N, C)`.
    """

    areas: npt.NDArray[np.int64]
    sums: npt.NDArray
    minima: npt.NDArray
    maxima: npt.NDArray
    squares: npt.NDArray[np.float64]

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean intensities, `(N, C)`."""
        return self.sums / self.areas[:, None]

    @property
    def deviations(self) -> npt.NDArray[np.float64]:
        """Standard deviations over each object's pixels (divided by their number), `(N, C)`."""
        return np.sqrt(self.squares / self.areas[:, None])


class ChannelSums:
    """Sums of one channel over N objects, filled band by band.

    Args:
        count: N.
        dtype: of the image.
    """

    def __init__(self, count: int, dtype: np.dtype) -> None:
        exact = dtype.kind in "bui"
        self._narrow = exact and dtype.itemsize <= 2
        self.dtype = np.dtype(np.int64 if exact else np.float64)
        self.sums = np.zeros(count, self.dtype)
        self.minima = np.zeros(count, self.dtype)
        self.maxima = np.zeros(count, self.dtype)
        # Σ v² modulo 2^64 where that is exact, else Σ (v - p)² and Σ (v - p), p the first value.
        self._squares = np.zeros(count, np.int64 if self._narrow else np.float64)
        self._shifts = np.zeros(0 if self._narrow else count, np.float64)
        self._pivots = np.zeros(0 if self._narrow else count, np.float64)
        self._seen = np.zeros(count, bool)

    def add(
        self,
        pixels: npt.NDArray,
        objects: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> None:
        """Add the runs of the next band.

        Args:
            pixels: the band's, flattened.
            objects: the row of each run's object, `(R,)`.
            starts: the run's first pixel.
            lengths: its pixels.
        """
        tables = self.sums, self.minima, self.maxima, self._squares, self._seen
        if self._narrow:
            _add_exactly(pixels, objects, starts, lengths, *tables)
        else:
            if pixels.dtype != np.float32:
                pixels = pixels.astype(self.dtype, copy=False)
            _add_floats(pixels, objects, starts, lengths, *tables, self._shifts, self._pivots)

    def squares(self, areas: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Sums of squared deviations from the mean, `(N,)`."""
        if not self._narrow:
            return np.maximum(self._squares - self._shifts**2 / areas, 0)
        # About a whole number near the mean; int64 may wrap on the way, the small result is right.
        near, rest = np.divmod(self.sums, areas)
        about = self._squares - near * (2 * self.sums - near * areas)
        return about - rest * (rest / areas)


def join_channels(channels: list[ChannelSums], areas: npt.NDArray[np.int64]) -> Intensities:
    """Put the sums of C channels side by side."""

    def table(columns: list[npt.NDArray]) -> npt.NDArray:
        return np.stack(columns, axis=1) if columns else np.empty((len(areas), 0))

    return Intensities(
        areas,
        table([each.sums for each in channels]),
        table([each.minima for each in channels]),
        table([each.maxima for each in channels]),
        table([each.squares(areas) for each in channels]),
    )


@kernel
def _add_exactly(  # type: ignore[no-untyped-def]
    pixels, objects, starts, lengths, sums, minima, maxima, squares, seen
):
    for run in range(len(objects)):
        start = starts[run]
        low = high = np.int64(pixels[start])
        total = square = np.int64(0)
        for at in range(start, start + lengths[run]):
            value = np.int64(pixels[at])
            total += value
            square += value * value
            low = min(low, value)
            high = max(high, value)
        own = objects[run]
        sums[own] += total
        squares[own] += square
        minima[own] = min(minima[own], low) if seen[own] else low
        maxima[own] = max(maxima[own], high) if seen[own] else high
        seen[own] = True


@kernel
def _add_floats(  # type: ignore[no-untyped-def]
    pixels, objects, starts, lengths, sums, minima, maxima, squares, seen, shifts, pivots
):
    for run in range(len(objects)):
        start, own = starts[run], objects[run]
        if not seen[own]:
            seen[own] = True
            pivots[own] = pixels[start]
            minima[own] = maxima[own] = pixels[start]
        pivot = pivots[own]
        low, high = minima[own], maxima[own]
        total = sums[own] * 0
        shift = square = 0.0
        for at in range(start, start + lengths[run]):
            value = pixels[at]
            total += value
            away = value - pivot
            shift += away
            square += away * away
            low = value if value < low else low
            high = value if value > high else high
        sums[own] += total
        shifts[own] += shift
        squares[own] += square
        minima[own], maxima[own] = low, high
