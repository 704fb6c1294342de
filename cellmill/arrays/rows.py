"""Large images read in bands of rows: each row once, in storage's own portions, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput

#: Chunks of a store are this high or a power of two lower, as a rule.
_CHUNK = 512
#: More pixels at once make nothing faster.
_ENOUGH = 1 << 22
_LEAST_MIB = 64


@dataclass(frozen=True)
class Band:
    """Rows of an image and the rows around them that the work on them looks at.

    Args:
        rows: the band's own rows.
        window: these and the halo, as far as the image goes.
    """

    rows: slice
    window: slice

    @property
    def inner(self) -> slice:
        """The own rows in an array that shows the window."""
        return slice(self.rows.start - self.window.start, self.rows.stop - self.window.start)


def row_bands(
    shape: tuple[int, int], *, bytes_per_pixel: float, memory_mib: float, halo: int = 0
) -> list[Band]:
    """Cut an image into bands whose windows end at multiples of a power of two.

    A window's new rows, those that the one before did not show, are therefore whole chunks of a
    chunked store: none is decoded twice, and the halo costs no reading.

    Args:
        shape: Y, X of the image.
        bytes_per_pixel: what the work takes for each pixel of a window.
        memory_mib: what it may take in all; the least there is are windows of `2 halo + 1` rows.
        halo: rows above and below that the work on a row looks at.

    Example:
        >>> [(band.rows, band.inner) for band in row_bands(
        ...     (9, 1 << 20), bytes_per_pixel=1, memory_mib=6, halo=1)][1]
        (slice(3, 7, None), slice(1, 5, None))
    """
    height, width = shape
    fit = int(memory_mib * 2**20 / (bytes_per_pixel * max(width, 1))) - 2 * halo
    step = -(-_ENOUGH // max(width, 1) // _CHUNK) * _CHUNK
    if fit < step:
        step = 1 << max(fit, 1).bit_length() - 1
    step = max(step, halo + 1)
    found = []
    start = 0
    for end in range(step, height + step, step):
        stop = height if end >= height else end - halo
        found.append(
            Band(slice(start, stop), slice(max(start - halo, 0), min(stop + halo, height)))
        )
        start = stop
    return found


def check_memory(memory_mib: int) -> None:
    """Refuse a budget that is too small to work in, by BadInput."""
    if memory_mib < _LEAST_MIB:
        raise BadInput("memory_mib", expected=f"{_LEAST_MIB} MiB or more", found=f"{memory_mib}")


class RowReader:
    """Reads the windows of successive bands; rows that two windows share are read once.

    Args:
        source: the array, rows first.
        channel: which channel of a `(Y, X, C)` array; none gives `source` as it is.
    """

    def __init__(self, source: Windowed, channel: int | None = None) -> None:
        self._source = source
        self._rest: tuple[slice | int, ...] = () if channel is None else (slice(None), channel)
        self._kept = _native(np.empty(0, source.dtype))
        self._end = 0

    def read(self, band: Band, following: Band | None) -> np.ndarray:
        """Read a band's window, contiguous and in the machine's byte order.

        Args:
            band: the next of the bands.
            following: the one after it, none after the last.
        """
        start, stop = band.window.start, band.window.stop
        if isinstance(self._source, np.ndarray):
            shown = (band.window, *self._rest)
            return _native(self._source[shown])
        known = self._end - start
        unread = (slice(start + max(known, 0), stop), *self._rest)
        new = self._source[unread]
        if known > 0:
            window = np.concatenate([self._kept[len(self._kept) - known :], _native(new)])
        else:
            window = _native(new)
        if following is not None:
            self._kept = window[following.window.start - start :].copy()
        self._end = stop
        return window


def read_windows(
    readers: Sequence[RowReader], band: Band, following: Band | None
) -> list[np.ndarray]:
    """Read a band's window of several arrays, side by side."""
    return in_threads(lambda reader: reader.read(band, following), readers)


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
