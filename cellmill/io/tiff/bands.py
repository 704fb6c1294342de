"""Decodes planes of a TIFF band by band: each strip or tile is read and decoded once.

What is in memory is two bands of rows, high and wide enough to fill whole shards of a store, and a
few strips or tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Box
from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput
from cellmill.io.tiff.damage import damage_is_bad_input
from cellmill.io.tiff.decode import SegmentDecoder
from cellmill.io.tiff.layout import Plane, TiffImage
from cellmill.io.tiff.opened import Page
from cellmill.io.tiff.stored import contiguous_start, page_of, segments_of

#: Bytes that are read, and handed to the decoding threads, at a time.
_BUFFER = 1 << 24
#: Bands begin at multiples of a store's shards (`cellmill.arrays.zarr.SHARD`).
_SHARD = 2048
#: Of the memory that may be taken, what a band may fill: there are two, and their copies on the way
#: out; and what strips or tiles may that are read and decoded.
_BAND_SHARE, _WORK_SHARE = 6, 4
#: A strip of more rows is decoded by itself and cut into bands.
_ROWS_OF_A_LARGE_STRIP = 1024
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
        """Cut a plane whose strips or tiles have `segment` rows and columns."""
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
    """Decode samples of a plane: yields where a band lies, and `(samples, rows, columns)`.

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
    decoder = None if start is not None else SegmentDecoder(page, image.label)
    band = len(samples) * min(high, height) * cut.columns * image.stored_dtype.itemsize
    if decoder is not None and not page.is_tiled and segment[0] > _ROWS_OF_A_LARGE_STRIP:
        bands = 3 * len(samples) * min(_SHARD, height) * width * image.stored_dtype.itemsize
        needed = decoder.needed_bytes + _largest_stored(image, plane) + bands
        _check_memory(image, needed, memory_mib)
        yield from _by_strip(image, plane, decoder, samples, is_done)
        return
    one = decoder.needed_bytes + _largest_stored(image, plane) if decoder is not None else 0
    _check_memory(image, 2 * band + 2 * one, memory_mib)
    work = _Work(image, plane, segment, samples, decoder, (memory_mib << 20) // _WORK_SHARE, one)
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
                    _read_plain(image, plane, start, span, samples, buffer)
                elif span.y0 < span.y1:
                    _decode(work, span, (y0, x0), buffer, threads)
                yield box, buffer[:, : box.y1 - y0]
                if not spare.size and box.y1 < height:
                    spare = np.zeros(size, image.stored_dtype)
                # Rows that are decoded beyond the band begin the next one.
                beyond = stop - box.y1
                if beyond:
                    spare[:, :beyond] = buffer[:, box.y1 - y0 : stop - y0]
                buffer, spare = spare, buffer
                known = stop


def _by_strip(
    image: TiffImage,
    plane: Plane,
    decoder: SegmentDecoder,
    samples: Sequence[int],
    is_done: Callable[[Box], bool],
) -> Iterator[tuple[Box, np.ndarray]]:
    """Decode strips that are higher than a band, one at a time, and give them in bands."""
    height, width = image.shape
    high = image.pages.keyframe.rowsperstrip
    segments, z = segments_of(image, plane)
    ifd = page_of(image, plane)
    for number, index in enumerate(segments):
        top, end = number * high, min((number + 1) * high, height)
        edges = [top, *range(-(-(top + 1) // _SHARD) * _SHARD, end, _SHARD), end]
        boxes = [Box(y0, y1, 0, width) for y0, y1 in itertools.pairwise(edges)]
        wanted = [box for box in boxes if not is_done(box)]
        if not wanted:
            continue
        with damage_is_bad_input(image.label, _DAMAGED):
            (stored,) = _stored(ifd, decoder, [index])
            pixels, _, _ = decoder(*stored, **_tables(ifd, image.pages.keyframe))
        del stored
        for box in wanted:
            rows = slice(box.y0 - top, box.y1 - top)
            if pixels is not None:
                yield box, np.stack([pixels[z, rows, :, sample] for sample in samples])
                continue
            size = (len(samples), box.y1 - box.y0, width)
            yield box, np.full(size, image.pages.keyframe.nodata, image.stored_dtype)
        # Before the next one is decoded.
        del pixels


def _check_memory(image: TiffImage, needed: int, memory_mib: int) -> None:
    """Check that strips or tiles can be decoded within the memory that may be taken."""
    if needed > memory_mib << 20:
        what = "tiles" if image.pages.keyframe.is_tiled else "strips"
        raise BadInput(
            image.label,
            expected=f"{what} that {memory_mib} MiB are enough to decode",
            found=f"some that take more: memory_mib={(needed >> 20) + 1} would do",
        )


def _largest_stored(image: TiffImage, plane: Plane) -> int:
    """Return the stored bytes of the largest strip or tile of a plane."""
    counts = page_of(image, plane).databytecounts
    return max((counts[i] for i in segments_of(image, plane)[0]), default=0)


@dataclass(frozen=True)
class _Work:
    """What the strips or tiles of a plane are decoded with.

    Attributes:
        image: the image.
        plane: of it.
        segment: rows and columns of a strip or tile.
        samples: of the pixels that are wanted.
        decoder: None where nothing is to be decoded.
        room: bytes that those at work may take.
        one: bytes that one takes.
    """

    image: TiffImage
    plane: Plane
    segment: tuple[int, int]
    samples: Sequence[int]
    decoder: SegmentDecoder | None
    room: int
    one: int


def _decode(
    work: _Work,
    span: Box,
    origin: tuple[int, int],
    buffer: np.ndarray,
    threads: ThreadPoolExecutor,
) -> None:
    """Decode the strips or tiles of a span into a buffer that begins at `origin`."""
    image, segment, decoder = work.image, work.segment, work.decoder
    assert decoder is not None
    ifd = page_of(image, work.plane)
    page = image.pages.keyframe
    segments, z = segments_of(image, work.plane)
    options = _tables(ifd, page)
    across = -(-image.shape[1] // segment[1])
    wanted = [
        segments[row * across + column]
        for row in range(span.y0 // segment[0], -(-span.y1 // segment[0]))
        for column in range(span.x0 // segment[1], -(-span.x1 // segment[1]))
    ]

    def place(stored: tuple[bytes | None, int]) -> None:
        data, at, shape = decoder(*stored, **options)
        y, x = at[2] - origin[0], at[3] - origin[1]
        rows, columns = min(shape[1], span.y1 - at[2]), min(shape[2], span.x1 - at[3])
        hidden = max(0, -y)
        target = buffer[:, y + hidden : y + rows, x : x + columns]
        if data is None:
            # A strip or tile without bytes stands for a constant.
            target[...] = page.nodata
            return
        for k, sample in enumerate(work.samples):
            target[k] = data[z, hidden:rows, :columns, sample]

    # Batches are counted in decoded bytes: a tile of zeros is a thousand times its stored size.
    batch = max(thread_count(), _BUFFER // max(1, decoder.segment_bytes))
    batch = max(1, min(batch, work.room // 2 // max(1, work.one)))
    working: list[Future[None]] = []
    for first in range(0, len(wanted), batch):
        # A batch is read while the one before it is decoded.
        stored = _stored(ifd, decoder, wanted[first : first + batch])
        begun = [threads.submit(place, each) for each in stored]
        for future in working:
            future.result()
        working = begun
    for future in working:
        future.result()


def _stored(ifd: Page, decoder: SegmentDecoder, indices: Sequence[int]) -> list[Any]:
    """Read the bytes of strips or tiles: (bytes, index) of each."""
    offsets = [ifd.dataoffsets[i] for i in indices]
    counts = [ifd.databytecounts[i] for i in indices]
    for index, offset, count in zip(indices, offsets, counts, strict=True):
        decoder.check_stored(index, offset, count)
    return list(
        ifd.parent.filehandle.read_segments(offsets, counts, indices=indices, buffersize=_BUFFER)
    )


def _tables(ifd: Page, page: tifffile.TiffPage) -> dict[str, Any]:
    """Return what a decoder of JPEG wants to know beside the stored bytes."""
    if page.compression not in _JPEG:
        return {}
    return {"jpegtables": ifd.jpegtables, "jpegheader": page.jpegheader}


def _read_plain(
    image: TiffImage,
    plane: Plane,
    start: int,
    span: Box,
    samples: Sequence[int],
    buffer: np.ndarray,
) -> None:
    """Read rows of a plane that is stored plainly from a byte of the file on."""
    page = image.pages.keyframe
    file = page_of(image, plane).parent.filehandle
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
