"""Reads channels of a TIFF into an array, band by band.

Only the pages of the channels asked for are read, and a page that is stored plainly only in the
part that holds them. Each strip or tile is read and decoded once. What is in memory is a band of
rows, high and wide enough to fill whole shards of a store, and a few strips or tiles.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Box, WritableWindowed
from cellmill.compiled import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.tiff.damage import WHOLE, damage_is_bad_input
from cellmill.tiff.layout import Plane, TiffImage

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger

#: Bytes that are read, and handed to the decoding threads, at a time.
_BUFFER = 1 << 24
#: Bands begin at multiples of a store's shards (``cellmill.arrays.zarr.SHARD``).
_SHARD = 2048
#: Of the memory that may be taken, what a band may fill; the rest is its copies on the way out.
_BAND_SHARE = 4
#: Rows that a thread converts at a time.
_ROWS = 256
#: Compression schemes with tables for all tiles in a tag: JPEG, old and new, and two vendors'.
_JPEG = {6, 7, 33007, 34892}
_EXACT = 1 << 24
_DAMAGED = "pixels that can be decoded"


@dataclass
class Losses:
    """Pixels that are no numbers, and pixels that did not survive a change of dtype."""

    not_finite: int = 0
    not_exact: int = 0

    def add(self, not_finite: int, not_exact: int) -> None:
        """Count more of them."""
        self.not_finite += not_finite
        self.not_exact += not_exact

    def refuse(self, label: str, stored: np.dtype, dtype: np.dtype) -> None:
        """Refuse an image that has any.

        Raises:
            BadInput: it has.
        """
        if self.not_finite:
            raise BadInput(
                label,
                expected="numbers in all pixels",
                found=f"{self.not_finite} pixels that are NaN or infinite",
            )
        if self.not_exact:
            raise BadInput(
                label,
                expected=f"pixels that {dtype} can hold",
                found=f"{self.not_exact} {stored} pixels that it cannot",
            )


def read_channels(
    image: TiffImage,
    channels: Sequence[int],
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Read channels of an image into an array.

    Args:
        image: the open image.
        channels: indices of its channels.
        out: ``(Y, X, len(channels))``, of ``image.dtype`` or of ``image.stored_dtype``; filled.
        memory_mib: what may be taken; a strip that is larger is held all the same.
        ledger: marks of the bands that are in ``out`` already; they are not read again.

    Raises:
        BadInput: the file is damaged or cut off; a pixel is NaN or infinite; or an integer or a
            float64 does not fit float32, where that is what it has to become.
    """
    check_complete(image, channels)
    done = ledger.done() if ledger is not None else set()
    losses = Losses()
    for plane, wanted in _by_plane(image, channels).items():
        samples = [sample for sample, _ in wanted]

        def is_done(box: Box, number: int = plane.number) -> bool:
            return _unit(number, box) in done

        for box, pixels in _bands(image, plane, samples, memory_mib, is_done):
            lost = Losses()
            for (_, place), stored in zip(wanted, pixels, strict=True):
                converted, *counts = converted_pixels(stored, out.dtype)
                window = (*box.slices, place)
                out[window] = converted
                lost.add(*counts)
            losses.add(lost.not_finite, lost.not_exact)
            if ledger is not None:
                counted = json.dumps([lost.not_finite, lost.not_exact]).encode()
                ledger.mark(_unit(plane.number, box), counted)
    if ledger is not None:
        for unit in done:
            losses.add(*json.loads(ledger.payload(unit)))
    losses.refuse(image.label, image.stored_dtype, out.dtype)


def _unit(plane: int, box: Box) -> str:
    return f"{plane}-{box.y0}-{box.y1}-{box.x0}-{box.x1}"


def check_complete(image: TiffImage, channels: Sequence[int]) -> None:
    """Check that the file holds all bytes of some channels, before room is made for them.

    Raises:
        BadInput: it ends before them, or lacks some of their strips or tiles.
    """
    with damage_is_bad_input(image.label, WHOLE):
        end = image.pages.keyframe.parent.filehandle.size
        for plane in _by_plane(image, channels):
            start = _contiguous_start(image, plane)
            if start is not None:
                needed = start + _plane_bytes(image)
            else:
                ifd = _page(image, plane)
                segments, _ = _segments_of(image, plane)
                if segments.stop > min(len(ifd.dataoffsets), len(ifd.databytecounts)):
                    raise BadInput(
                        image.label,
                        expected=f"{segments.stop} strips or tiles",
                        found=f"{len(ifd.dataoffsets)}",
                    )
                needed = max(ifd.dataoffsets[i] + ifd.databytecounts[i] for i in segments)
            if needed > end:
                raise BadInput(
                    image.label,
                    expected=f"at least {needed} bytes",
                    found=f"{end}: the file is cut off",
                )


def is_grey(image: TiffImage, memory_mib: int = 1024) -> bool:
    """Whether red, green and blue are alike in every pixel of a colour image.

    Args:
        image: an image with ``colour``; an alpha channel is not looked at.
        memory_mib: what may be taken.

    Raises:
        BadInput: the file is damaged.
    """
    check_complete(image, range(3))
    if len({(p.number, p.stacked) for p in image.planes[:3]}) == 1:
        samples = [p.sample for p in image.planes[:3]]
        bands = _bands(image, image.planes[0], samples, memory_mib)
        return all(bool((pixels == pixels[:1]).all()) for _, pixels in bands)
    planes = (_bands(image, p, [p.sample], memory_mib // 3) for p in image.planes[:3])
    return all(
        np.array_equal(r[1], g[1]) and np.array_equal(r[1], b[1])
        for r, g, b in zip(*planes, strict=True)
    )


def _by_plane(image: TiffImage, channels: Sequence[int]) -> dict[Plane, list[tuple[int, int]]]:
    """Group channels by where they are decoded: samples side by side are decoded once.

    Returns:
        By the first plane of a group: (sample, place in ``channels``).
    """
    groups: dict[int, list[tuple[Plane, int]]] = defaultdict(list)
    for place, channel in enumerate(channels):
        plane = image.planes[channel]
        groups[plane.number].append((plane, place))
    return {g[0][0]: [(plane.sample, place) for plane, place in g] for g in groups.values()}


def converted_pixels(pixels: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int, int]:
    """Return pixels ``(Y, X)`` in another dtype, and how many are no numbers or did not survive it.

    An integer must come through unchanged, and whatever becomes an integer. A float64 is rounded to
    float32, which is finer than any detector; it must only not become infinite.
    """
    if pixels.dtype == dtype and dtype.kind != "f":
        return pixels, 0, 0
    out = pixels if pixels.dtype == dtype else np.empty(pixels.shape, dtype)

    def convert(row: int) -> tuple[int, int]:
        part = pixels[row : row + _ROWS]
        not_finite = 0
        if part.dtype.kind == "f":
            not_finite = part.size - int(np.count_nonzero(np.isfinite(part)))
        if out is pixels:
            return not_finite, 0
        with np.errstate(over="ignore", invalid="ignore"):
            out[row : row + _ROWS] = part
        return not_finite, _lost(part, out[row : row + _ROWS])

    counts = in_threads(convert, range(0, len(pixels), _ROWS))
    return out, sum(n for n, _ in counts), sum(n for _, n in counts)


def _lost(pixels: np.ndarray, converted: np.ndarray) -> int:
    if np.can_cast(pixels.dtype, converted.dtype):
        return 0
    if converted.dtype.kind in "iu":
        return int(np.count_nonzero(converted != pixels))
    if pixels.dtype.kind == "f":
        return int(np.count_nonzero(np.isinf(converted) & np.isfinite(pixels)))
    # Float32 holds every integer up to this, and few above it.
    lost = pixels > _EXACT
    if pixels.dtype.kind == "i":
        lost |= pixels < -_EXACT
    return int(np.count_nonzero(lost))


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


def _bands(
    image: TiffImage,
    plane: Plane,
    samples: Sequence[int],
    memory_mib: int,
    is_done: Callable[[Box], bool] = lambda box: False,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Decode samples of a plane: yields where a band lies, and ``(samples, rows, columns)``.

    The pixels hold until the next band is asked for.
    """
    start = _contiguous_start(image, plane)
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
            buffer = np.zeros((len(samples), high, x1 - x0), image.stored_dtype)
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
                # Rows that are decoded beyond the band begin the next one.
                beyond = stop - box.y1
                if beyond:
                    buffer[:, :beyond] = buffer[:, box.y1 - y0 : stop - y0].copy()
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
    ifd = _page(image, plane)
    page = image.pages.keyframe
    segments, z = _segments_of(image, plane)
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


def _contiguous_start(image: TiffImage, plane: Plane) -> int | None:
    """Return where a plane's bytes begin if they are rows in order, not compressed; else None.

    ImageJ writes stacks above 4 GB so, with a directory for the first plane only.
    """
    page = image.pages.keyframe
    if image.pages.dataoffset is not None:
        return int(image.pages.dataoffset) + plane.number * _plane_bytes(image)
    if page.is_final:
        offsets = _page(image, plane).dataoffsets
        return int(offsets[0]) + plane.stacked * _plane_bytes(image) if offsets else None
    return None


def _plane_bytes(image: TiffImage) -> int:
    samples = int(image.pages.keyframe.shaped[4])
    return math.prod(image.shape) * samples * image.stored_dtype.itemsize


def _page(image: TiffImage, plane: Plane) -> tifffile.TiffPage | tifffile.TiffFrame:
    with damage_is_bad_input(image.label, WHOLE):
        found = image.pages[plane.page]
    if found is None:
        raise BadInput(image.label, expected="a page for every channel", found="a missing page")
    return found


def _segments_of(image: TiffImage, plane: Plane) -> tuple[range, int]:
    """Return the strips or tiles of a plane among those of its page, and its depth in them."""
    page = image.pages.keyframe
    separate, depth = page.shaped[:2]
    tile_depth = max(1, page.tiledepth) if page.is_tiled else 1
    layers = math.ceil(depth / tile_depth)
    in_layer = math.prod(page.chunked) // (separate * layers)
    sample, z = divmod(plane.stacked, depth)
    layer = sample * layers + z // tile_depth
    return range(layer * in_layer, (layer + 1) * in_layer), z % tile_depth
