"""Reads channels of a TIFF into an array, strip by strip and tile by tile.

Only the pages of the channels asked for are read, and a page that is stored plainly only in the
part that holds them. What is in memory is a few strips or tiles, never an image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tifffile

from cellmill.errors import BadInput
from cellmill.tiff.damage import WHOLE, damage_is_bad_input
from cellmill.tiff.layout import Plane, TiffImage

#: Bytes that are read, and handed to the decoding threads, at a time.
_BUFFER = 1 << 24
#: Compression schemes with tables for all tiles in a tag: JPEG, old and new, and two vendors'.
_JPEG = {6, 7, 33007, 34892}
_EXACT = 1 << 24
_DAMAGED = "pixels that can be decoded"

Block = tuple[int, int, np.ndarray]


def read_channels(image: TiffImage, channels: Sequence[int], out: np.ndarray) -> None:
    """Read channels of an image into an array.

    Args:
        image: the open image.
        channels: indices of its channels.
        out: ``(Y, X, len(channels))``, of ``image.dtype`` or of ``image.stored_dtype``; filled.

    Raises:
        BadInput: the file is damaged or cut off; a pixel is NaN or infinite; or an integer or a
            float64 does not fit float32, where that is what it has to become.
    """
    check_complete(image, channels)
    not_finite = not_exact = 0
    for plane, wanted in _by_plane(image, channels).items():
        for y, x, block in _blocks(image, plane):
            window = out[y : y + block.shape[0], x : x + block.shape[1]]
            for sample, c in wanted:
                pixels = block[..., sample]
                if pixels.dtype.kind == "f":
                    not_finite += pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
                window[..., c], lost = _converted(pixels, out.dtype)
                not_exact += lost
    if not_finite:
        raise BadInput(
            image.label,
            expected="numbers in all pixels",
            found=f"{not_finite} pixels that are NaN or infinite",
        )
    if not_exact:
        raise BadInput(
            image.label,
            expected="pixels that float32 can hold",
            found=f"{not_exact} {image.stored_dtype} pixels that it cannot",
        )


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


def is_grey(image: TiffImage) -> bool:
    """Whether red, green and blue are alike in every pixel of a colour image.

    Args:
        image: an image with ``colour``; an alpha channel is not looked at.

    Raises:
        BadInput: the file is damaged.
    """
    check_complete(image, range(3))
    if len({(p.number, p.stacked) for p in image.planes[:3]}) == 1:
        samples = [p.sample for p in image.planes[:3]]
        return all(
            bool((block[..., samples] == block[..., samples[:1]]).all())
            for _, _, block in _blocks(image, image.planes[0])
        )
    planes = (_blocks(image, plane) for plane in image.planes[:3])
    return all(
        np.array_equal(r[2], g[2]) and np.array_equal(r[2], b[2])
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


def _converted(pixels: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Return pixels in another dtype, and how many did not survive it.

    An integer must come through unchanged. A float64 is rounded to float32, which is finer than
    any detector; it must only not become infinite.
    """
    if pixels.dtype == dtype:
        return pixels, 0
    with np.errstate(over="ignore", invalid="ignore"):
        converted = pixels.astype(dtype)
        if pixels.dtype.itemsize < 4 or pixels.dtype == np.float32:
            return converted, 0
        if pixels.dtype.kind == "f":
            return converted, int(np.count_nonzero(np.isinf(converted) & np.isfinite(pixels)))
        # Float32 holds every integer up to this, and few above it.
        lost = pixels > _EXACT
        if pixels.dtype.kind == "i":
            lost |= pixels < -_EXACT
        return converted, int(np.count_nonzero(lost))


def _blocks(image: TiffImage, plane: Plane) -> Iterator[Block]:
    """Decode one plane: yields first row, first column and ``(rows, columns, samples)``."""
    start = _contiguous_start(image, plane)
    if start is not None:
        yield from _contiguous_blocks(image, start)
        return
    ifd = _page(image, plane)
    page = image.pages.keyframe
    segments, z = _segments_of(image, plane)
    options: dict[str, Any] = {}
    if page.compression in _JPEG:
        options = {"jpegtables": ifd.jpegtables, "jpegheader": page.jpegheader}
    height, width = image.shape

    def decode(segment: tuple[bytes | None, int]) -> Block:
        data, at, shape = page.decode(*segment, **options)
        y, x = at[2], at[3]
        rows, columns = min(shape[1], height - y), min(shape[2], width - x)
        if data is None:
            # A strip or tile without bytes stands for a constant.
            return y, x, np.full((rows, columns, shape[3]), page.nodata, image.stored_dtype)
        return y, x, data[z, :rows, :columns]

    # Batches are counted in decoded bytes: a tile of zeros is a thousand times its stored size.
    decoded = math.prod(page.chunks) * image.stored_dtype.itemsize
    batch = max(page.maxworkers, _BUFFER // max(1, decoded))
    with (
        damage_is_bad_input(image.label, _DAMAGED),
        ThreadPoolExecutor(max(1, page.maxworkers)) as threads,
    ):
        for first in range(0, len(segments), batch):
            indices = segments[first : first + batch]
            stored = page.parent.filehandle.read_segments(
                [ifd.dataoffsets[i] for i in indices],
                [ifd.databytecounts[i] for i in indices],
                indices=indices,
                buffersize=_BUFFER,
            )
            yield from threads.map(decode, stored)


def _contiguous_blocks(image: TiffImage, start: int) -> Iterator[Block]:
    """Read a plane that is stored plainly from a byte of the file on, some rows at a time."""
    page = image.pages.keyframe
    file = page.parent.filehandle
    height, width = image.shape
    samples = page.shaped[4]
    dtype = image.stored_dtype.newbyteorder(page.parent.byteorder)
    row_bytes = width * samples * dtype.itemsize
    rows = max(1, _BUFFER // row_bytes)
    for y in range(0, height, rows):
        count = min(rows, height - y)
        with damage_is_bad_input(image.label, _DAMAGED):
            file.seek(start + y * row_bytes)
            block = np.frombuffer(file.read(count * row_bytes), dtype)
            block = block.reshape(count, width, samples).astype(image.stored_dtype, copy=False)
        yield y, 0, block


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
