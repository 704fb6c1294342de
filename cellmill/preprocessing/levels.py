"""Exact extremes and percentiles of images of any size, by counting.

A value's bits, turned so that they order as the values do, are counted 16 at a time from the top:
the first pass over the image tells in which of 65,536 parts a rank lies, the next divides that
part, and so on (selection by radix). Integers of 8 and 16 bits take one pass, 32 bits two, 64 bits
four; what is held is a window per thread and the counts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.windows import Grid, Windowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.preprocessing.pixels import native_dtype

_DIGIT = 16
_PARTS = 1 << _DIGIT
_UNSIGNED, _SIGNED, _FLOAT = range(3)


@dataclass(frozen=True)
class Levels:
    """Levels of a channel.

    Args:
        low: its least value, in the image's dtype.
        high: its greatest value.
        percentiles: those asked for, in float64; empty if no pixel counts.
    """

    low: Any
    high: Any
    percentiles: tuple[float, ...]


def levels_of(
    image: Windowed,
    percentiles: Sequence[float] = (),
    *,
    nonzero: bool = False,
    side: int = 1024,
    what: str = "image",
) -> list[Levels]:
    """Find each channel's extremes and percentiles, and refuse what is not finite.

    A percentile is interpolated linearly between the two nearest ranks, in float64.

    Args:
        image: `(Y, X, C)`, integer or float, at least one pixel.
        percentiles: 0 to 100.
        nonzero: whether percentiles are those of the pixels that are not 0.
        side: of the windows that are read.
        what: the image's name in error messages.

    Raises:
        BadInput: a value is NaN or infinite; the message has the counts.
    """
    keys = _Keys(native_dtype(image.dtype, what))
    channels = [_Channel(keys, bool(percentiles)) for _ in range(image.shape[2])]
    for shift in keys.shifts:
        _count(image, keys, channels, nonzero, shift, side)
        if shift == keys.shifts[0]:
            _require_finite(channels, int(np.prod(image.shape)), what)
            for channel in channels:
                channel.start(percentiles)
        for channel in channels:
            channel.descend()
        if not percentiles:
            break
    return [channel.levels(percentiles) for channel in channels]


class _Keys:
    """Unsigned integers that order as a dtype's values do."""

    def __init__(self, dtype: np.dtype) -> None:
        bits = dtype.itemsize * 8
        self.values = dtype
        self.dtype = np.dtype(f"u{dtype.itemsize}")
        self.kind = {"u": _UNSIGNED, "i": _SIGNED, "f": _FLOAT}[dtype.kind]
        self.sign = self.dtype.type(1 << (bits - 1))
        self.infinity = self.dtype.type(0)
        if self.kind == _FLOAT:
            self.infinity = np.array(np.inf, dtype).view(self.dtype)[()]
        self.shifts = range(max(bits - _DIGIT, 0), -1, -_DIGIT)

    def value(self, key: int) -> Any:
        bits = self.dtype.type(key)
        if self.kind == _SIGNED:
            bits ^= self.sign
        elif self.kind == _FLOAT:
            bits = bits ^ self.sign if bits & self.sign else ~bits
        return np.array(bits, self.dtype).view(self.values)[()]


class _Channel:
    """What is known of a channel after the passes so far."""

    def __init__(self, keys: _Keys, counted: bool) -> None:
        self.keys = keys
        self.extremes = np.array([~keys.dtype.type(0), 0], keys.dtype)
        self.broken = np.zeros(2, np.int64)
        self.prefixes: np.ndarray = np.zeros(int(counted), np.uint64)
        self.counts = np.zeros((int(counted), _PARTS), np.int64)
        self.total = 0
        #: By rank: the leading bits known of its value, and its rank among the values with those.
        self.ranks: dict[int, tuple[int, int]] = {}

    def start(self, percentiles: Sequence[float]) -> None:
        self.total = int(self.counts.sum())
        if self.total:
            for percentile in percentiles:
                rank, after, _ = _position(self.total, percentile)
                self.ranks |= {rank: (0, rank), after: (0, after)}

    def descend(self) -> None:
        """Go on in the part that each rank lies in."""
        ends_of = dict(zip(self.prefixes.tolist(), np.cumsum(self.counts, axis=1), strict=True))
        for rank, (prefix, offset) in self.ranks.items():
            ends = ends_of[prefix]
            digit = int(np.searchsorted(ends, offset, side="right"))
            offset -= int(ends[digit - 1]) if digit else 0
            self.ranks[rank] = (prefix << _DIGIT | digit, offset)
        prefixes = sorted({prefix for prefix, _ in self.ranks.values()})
        self.prefixes = np.array(prefixes, np.uint64)
        self.counts = np.zeros((len(prefixes), _PARTS), np.int64)

    def levels(self, percentiles: Sequence[float]) -> Levels:
        def value(percentile: float) -> float:
            rank, after, part = _position(self.total, percentile)
            below, above = (self.keys.value(self.ranks[r][0]) for r in (rank, after))
            if self.keys.kind == _FLOAT:
                # The difference is taken in the values' own dtype, as numpy does.
                step = float(above - below)
            else:
                step = float(int(above) - int(below))
            # Counting from the nearer rank is numpy's rule; it decides the last bit.
            if part < 0.5:
                return float(below) + step * part
            return float(above) - step * (1 - part)

        low, high = (self.keys.value(int(key)) for key in self.extremes)
        return Levels(low, high, tuple(map(value, percentiles)) if self.total else ())


def _position(count: int, percentile: float) -> tuple[int, int, float]:
    """The two ranks next to a percentile of so many values, and how far it is from the first."""
    position = (count - 1) * (percentile / 100)
    rank = int(np.floor(position))
    return rank, min(rank + 1, count - 1), position - rank


def _count(
    image: Windowed,
    keys: _Keys,
    channels: Sequence[_Channel],
    nonzero: bool,
    shift: int,
    side: int,
) -> None:
    """Make one pass over the image."""
    grid = Grid((image.shape[0], image.shape[1]), side)
    lock = threading.Lock()

    def scan(tile: int) -> None:
        pixels = image[grid.box(tile).slices].astype(keys.values, copy=False).view(keys.dtype)
        for c, channel in enumerate(channels):
            extremes, broken = channel.extremes.copy(), np.zeros_like(channel.broken)
            counts = np.zeros_like(channel.counts)
            _count_window(
                pixels[..., c],
                (keys.kind, keys.sign, keys.infinity, nonzero),
                channel.prefixes,
                np.uint64(shift),
                extremes,
                broken,
                counts,
            )
            with lock:
                channel.extremes[0] = min(channel.extremes[0], extremes[0])
                channel.extremes[1] = max(channel.extremes[1], extremes[1])
                channel.broken += broken
                channel.counts += counts

    in_threads(scan, range(len(grid)))


@kernel
def _count_window(bits, keys, prefixes, shift, extremes, broken, counts):  # type: ignore[no-untyped-def]
    kind, sign, infinity, nonzero = keys
    low, high = extremes
    for y in range(bits.shape[0]):
        for x in range(bits.shape[1]):
            value = bits[y, x]
            key = value
            is_zero = value == 0
            if kind == _FLOAT:
                size = value & ~sign
                if size >= infinity:
                    broken[int(size == infinity)] += 1
                    continue
                is_zero = size == 0
                key = ~value if value & sign else value | sign
            elif kind == _SIGNED:
                key = value ^ sign
            low, high = min(low, key), max(high, key)
            if nonzero and is_zero:
                continue
            part = np.uint64(key) >> shift
            for k in range(len(prefixes)):
                if part >> np.uint64(_DIGIT) == prefixes[k]:
                    counts[k, part & np.uint64(_PARTS - 1)] += 1
    extremes[0], extremes[1] = low, high


def _require_finite(channels: Sequence[_Channel], size: int, what: str) -> None:
    nan, infinite = np.sum([channel.broken for channel in channels], axis=0)
    if nan or infinite:
        raise BadInput(
            what,
            expected="finite pixel values",
            found=f"{nan} NaN and {infinite} infinite of {size} values",
        )
