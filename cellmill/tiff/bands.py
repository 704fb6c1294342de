"""Decodes planes of a TIFF band by band: each strip or tile is read and decoded once.

What is in memory is two bands of rows, high and wide enough to fill whole shards of a store, and a
few strips or tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.compiled import thread_count
from cellmill.tiff.damage import damage_is_bad_input
from cellmill.tiff.layout import Plane, TiffImage
from cellmill.tiff.stored import contiguous_start, page_of, segments_of

#: Bytes that are read, and handed to the decoding threads, at a time.
_BUFFER = 1 << 24
#: Bands begin at multiples of a store's shards (``cellmill.arrays.zarr.SHARD``).
_SHARD = 2048
#: Of the memory that may be taken, what a band may fill: there are two, and their copies on the way
#: out.
_BAND_SHARE = 6
#: Compression schemes with tables for all tiles in a tag: JPEG, old and new, and two vendors'.
_JPEG = {6, 7, 33007, 34892}
_DAMAGED = "pixels that can be decoded"


@dataclass(frozen=True)
class _Cut:
    """How a plane is cut into bands: rows and columns of one, a multiple of shards if it can be."""

    rows: int
    columns: int

    @classmethod
    def of(cls, image: TiffImage, segment: tuple[int, int], samples: int, memory_mib: int) -> _Cut:
        """Cut a plane whose strips or tiles have ``segment`` rows and columns."""
        height, width = image.shape
        room = (memory_mib << 20) // _BAND_SHARE // (samples * image.stored_dtype.itemsize)
        rows, columns = _SHARD, width
        high = rows + (segment[0] if rows % segment[0] else 0)
        if _SHARD % segment[1] == 0:
            # Columns are cut only where no tile would be decoded twice for it.
            columns = min(width, max(1, room // high // _SHARD) * _SHARD)
        while rows > 16 and (rows + segment[0]) * columns > room:
            rows //= 2
        if segment[0] > rows:
            rows = -(-segment[0] // _SHARD) * _SHARD
        return cls(min(rows, height), columns)


def decoded_bands(
    image: TiffImage,
    plane: Plane,
    samples: Sequence[int],
    memory_mib: int,
    is_done: Callable[[Box], bool] = lambda box: False,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Decode samples of a plane: yields where a band lies, and ``(samples, rows, columns)``.

    The pixels of a band hold until the one after the next is asked for.
    """
    start = contiguous_start(image, plane)
    height, width = image.shape
    page = image.pages.keyframe
    if start is not None:
        segment = (1, width)
    elif page.is_tiled:
        segment = (page.tilelength, page.tilewidth)
    else:
        segment = (min(page.rowsperstrip, height), width)
    cut = _Cut.of(image, segment, len(samples), memory_mib)
    high = cut.rows + (segment[0] if cut.rows % segment[0] else 0)
    with damage_is_bad_input(image.label, _DAMAGED), ThreadPoolExecutor(thread_count()) as threads:
        for x0 in range(0, width, cut.columns):
            x1 = min(x0 + cut.columns, width)
            size = (len(samples), min(high, height), x1 - x0)
            buffer, spare = np.zeros(size, image.stored_dtype), np.zeros(0, image.stored_dtype)
            known = 0
            for y0 in range(0, height, cut.rows):
                box = Box(y0, min(y0 + cut.rows, height), x0, x1)
                if is_done(box):
                    continue
                if known <= y0:
                    known = y0 // segment[0] * segment[0]
                stop = min(-(-box.y1 // segment[0]) * segment[0], height)
                span = Box(known, stop, x0, x1)
                if start is not None:
                    _read_plain(image, start, span, samples, buffer)
                elif span.y0 < span.y1:
                    _decode(image, plane, segment, span, (y0, x0), samples, buffer, threads)
                yield box, buffer[:, : box.y1 - y0]
                if not spare.size and box.y1 < height:
                    spare = np.zeros(size, image.stored_dtype)
                # Rows that are decoded beyond the band begin the next one.
                beyond = stop - box.y1
                if beyond:
                    spare[:, :beyond] = buffer[:, box.y1 - y0 : stop - y0]
                buffer, spare = spare, buffer
                known = stop


def _decode(
    image: TiffImage,
    plane: Plane,
    segment: tuple[int, int],
    span: Box,
    origin: tuple[int, int],
    samples: Sequence[int],
    buffer: np.ndarray,
    threads: ThreadPoolExecutor,
) -> None:
    """Decode the strips or tiles of a span into a buffer that begins at ``origin``."""
    ifd = page_of(image, plane)
    page = image.pages.keyframe
    segments, z = segments_of(image, plane)
    options: dict[str, Any] = {}
    if page.compression in _JPEG:
        options = {"jpegtables": ifd.jpegtables, "jpegheader": page.jpegheader}
    across = -(-image.shape[1] // segment[1])
    wanted = [
        segments[row * across + column]
        for row in range(span.y0 // segment[0], -(-span.y1 // segment[0]))
        for column in range(span.x0 // segment[1], -(-span.x1 // segment[1]))
    ]

    def place(stored: tuple[bytes | None, int]) -> None:
        data, at, shape = page.decode(*stored, **options)
        y, x = at[2] - origin[0], at[3] - origin[1]
        rows, columns = min(shape[1], span.y1 - at[2]), min(shape[2], span.x1 - at[3])
        hidden = max(0, -y)
        target = buffer[:, y + hidden : y + rows, x : x + columns]
        if data is None:
            # A strip or tile without bytes stands for a constant.
            target[...] = page.nodata
            return
        for k, sample in enumerate(samples):
            target[k] = data[z, hidden:rows, :columns, sample]

    # Batches are counted in decoded bytes: a tile of zeros is a thousand times its stored size.
    decoded = math.prod(page.chunks) * image.stored_dtype.itemsize
    batch = max(thread_count(), _BUFFER // max(1, decoded))
    working: list[Future[None]] = []
    for first in range(0, len(wanted), batch):
        indices = wanted[first : first + batch]
        stored: list[Any] = list(
            page.parent.filehandle.read_segments(
                [ifd.dataoffsets[i] for i in indices],
                [ifd.databytecounts[i] for i in indices],
                indices=indices,
                buffersize=_BUFFER,
            )
        )
        # A batch is read while the one before it is decoded.
        begun = [threads.submit(place, each) for each in stored]
        for future in working:
            future.result()
        working = begun
    for future in working:
        future.result()


def _read_plain(
    image: TiffImage, start: int, span: Box, samples: Sequence[int], buffer: np.ndarray
) -> None:
    """Read rows of a plane that is stored plainly from a byte of the file on."""
    page = image.pages.keyframe
    file = page.parent.filehandle
    width, count = image.shape[1], page.shaped[4]
    dtype = image.stored_dtype.newbyteorder(page.parent.byteorder)
    row_bytes = width * count * dtype.itemsize
    rows = max(1, _BUFFER // row_bytes)
    for y in range(span.y0, span.y1, rows):
        some = min(rows, span.y1 - y)
        file.seek(start + y * row_bytes)
        block = np.frombuffer(file.read(some * row_bytes), dtype).reshape(some, width, count)
        for k, sample in enumerate(samples):
            buffer[k, y - span.y0 : y - span.y0 + some] = block[..., sample]
