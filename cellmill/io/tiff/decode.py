"""Decodes strips and tiles: exactly the bytes that their geometry wants, and none of more memory.

A stream that holds more or less than its strip or tile is damaged, or the TIFF's own numbers are;
either way its pixels would be others than were stored.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.codestreams import check_end, declared_size

#: Compressions whose result is bytes, to be cut into pixels here.
_BYTES = frozenset({1, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013})
_OLD_JPEG, _JPEGS = 6, frozenset({6, 7, 33007, 34892})
_FLOAT_PREDICTORS = frozenset({3, 34894, 34895})
#: A codec of images makes 32-bit planes, and its result of them.
_IMAGE_FACTOR = 8
#: No compression makes anything longer than this many times, and some bytes.
_LONGEST, _HEADER = 2, 1 << 16
_NATIVE = "<" if sys.byteorder == "little" else ">"

At = tuple[int, int, int, int, int]
Shape = tuple[int, int, int, int]


class SegmentDecoder:
    """Decodes strips or tiles of pages that are stored alike.

    Safe from several threads.

    Args:
        page: one of the pages.
        label: how messages call the image.

    Raises:
        BadInput: the pixels are stored in a way that cannot be read.
    """

    def __init__(self, page: tifffile.TiffPage, label: str) -> None:
        self._page, self._label = page, label
        self._what = "tile" if page.is_tiled else "strip"
        page.init_decode()
        bits = page.bitspersample
        self._regular = isinstance(bits, int) and bits in (8, 16, 32, 64) and page.sampleformat != 5
        self._own = page.compression in _BYTES and (self._regular or _is_packed(page))
        self._packed = self._own and not self._regular
        self._decompress: Any = None
        if self._own and page.compression != 1:
            self._decompress = tifffile.TIFF.DECOMPRESSORS[page.compression]
        self._unpredict: Any = None
        if self._own and page.predictor != 1:
            self._unpredict = tifffile.TIFF.UNPREDICTORS[page.predictor]

    @property
    def segment_bytes(self) -> int:
        """Bytes of a whole strip or tile, decoded."""
        return math.prod(self._page.chunks) * self._itemsize

    @property
    def needed_bytes(self) -> int:
        """Bytes that decoding one takes, beside the stored ones."""
        return self.segment_bytes * (1 if self._own and not self._packed else _IMAGE_FACTOR)

    @property
    def _itemsize(self) -> int:
        dtype = self._page.dtype
        return 1 if dtype is None else dtype.itemsize

    def check_stored(self, index: int, offset: int, count: int) -> None:
        """Check the stored size of a strip or tile before it is read.

        Raises:
            BadInput: nothing is stored at a place that is given, or more than could be.
        """
        # A tile without bytes stands for a constant, as some writers of slides leave it out.
        slide = self._page.is_tiled and self._page.compression != 1
        left_out = not count and (slide or not offset)
        if not left_out and not (offset and count):
            raise self._wrong(index, "stored bytes", f"{count} at byte {offset}")
        most = _LONGEST * self.segment_bytes + _HEADER
        if count > most and self._page.jpegheader is None:
            raise self._wrong(index, f"at most {most} stored bytes", f"{count}")

    def __call__(
        self, data: bytes | None, index: int, **options: Any
    ) -> tuple[np.ndarray | None, At, Shape]:
        """Decode one.

        Args:
            data: its stored bytes; None where there are none.
            index: which one of the page.
            **options: tables of JPEG, as `tifffile.TiffPage.decode` takes them.

        Returns:
            Its pixels (depth, rows, columns, samples), None where it is empty; where it lies
            (separate sample, depth, row, column, 0); and its shape.

        Raises:
            BadInput: it is longer or shorter than its geometry.
        """
        page: Any = self._page
        _, at, shape = page.decode(None, index)
        if data is None:
            return None, at, shape
        if not self._own:
            self._check_declared(data, index, at, shape)
            decoded, at, shape = page.decode(data, index, **options)
            return decoded, at, shape
        if page.fillorder == 2:
            return self._cut(imagecodecs.bitorder_decode(data), index, shape), at, shape
        return self._cut(data, index, shape), at, shape

    def _cut(self, data: Any, index: int, shape: Shape) -> np.ndarray:
        return (self._unpacked if self._packed else self._pixels)(data, index, shape)

    def _raw(self, data: Any, index: int, wanted: int) -> np.ndarray:
        """Return the bytes of a strip or tile, decompressed."""
        if self._decompress is None:
            found = np.frombuffer(data, np.uint8)
        else:
            # One byte more, so that a stream that goes on is seen to.
            try:
                found = self._decompress(data, out=np.empty(wanted + 1, np.uint8))
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
                raise self._wrong(index, f"{wanted} bytes that can be decoded", failed) from error
        if len(found) != wanted:
            more = "more" if len(found) > wanted and self._decompress else f"{len(found)}"
            raise self._wrong(index, f"{wanted} bytes", more)
        return found

    def _pixels(self, data: Any, index: int, shape: Shape) -> np.ndarray:
        page: Any = self._page
        native = np.dtype(page.dtype).newbyteorder("=")
        raw = self._raw(data, index, math.prod(shape) * native.itemsize)
        swapped = page.predictor not in _FLOAT_PREDICTORS and page.parent.byteorder != _NATIVE
        if self._decompress is None and (swapped or self._unpredict is not None):
            raw = raw.copy()
        pixels = raw.view(native)
        if swapped and native.itemsize > 1:
            pixels.byteswap(inplace=True)
        pixels = pixels.reshape(shape)
        if self._unpredict is not None:
            pixels = self._unpredict(pixels, axis=-2, out=pixels)
        return pixels

    def _unpacked(self, data: Any, index: int, shape: Shape) -> np.ndarray:
        """Return pixels that were stored in fewer bits than bytes have, each row by itself."""
        page: Any = self._page
        run = shape[2] * shape[3]
        wanted = math.ceil(run * page.bitspersample / 8) * shape[0] * shape[1]
        raw = self._raw(data, index, wanted)
        dtype = np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)
        pixels = imagecodecs.packints_decode(raw.tobytes(), dtype, page.bitspersample, runlen=run)
        return np.asarray(pixels, dtype.newbyteorder("=")).reshape(shape)

    def _check_declared(self, data: bytes, index: int, at: At, shape: Shape) -> None:
        """Check the size that a stream of an image codec declares, and that it comes to its end."""
        page = self._page
        if page.compression in _JPEGS and page.jpegheader is not None:
            return
        try:
            found = declared_size(data, page.compression)
            check_end(data, page.compression)
        except ValueError as error:
            if page.compression == _OLD_JPEG:
                return
            raise self._wrong(index, f"{shape[1]} × {shape[2]} px", f"{error}") from error
        if found is None:
            return
        rows, columns = {shape[1]}, {shape[2]}
        if page.is_tiled:
            # At the right and lower borders some writers end a tile with the image.
            rows.add(min(shape[1], page.imagelength - at[2]))
            columns.add(min(shape[2], page.imagewidth - at[3]))
        if found[0] not in rows or found[1] not in columns or found[2] > max(4, shape[3] + 1):
            raise self._wrong(
                index,
                f"{shape[1]} × {shape[2]} px",
                f"a stream of {found[0]} × {found[1]} px, {found[2] or 'some'} components",
            )

    def _wrong(self, index: int, expected: str, found: str) -> BadInput:
        page = f"page {self._page.index + 1}"
        what = f"{expected} in {self._what} {index + 1} of {page}"
        return BadInput(self._label, expected=what, found=found)


def _is_packed(page: tifffile.TiffPage) -> bool:
    """Whether pixels are integers of a number of bits that is none of a byte's."""
    bits = page.bitspersample
    whole = page.sampleformat in (1, 2) and page.predictor == 1
    return isinstance(bits, int) and whole and bits < 32 and bits not in (8, 16)
