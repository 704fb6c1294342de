"""Where a plane's bytes lie in a TIFF, and whether they are all there; no pixel is decoded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.damage import WHOLE, damage_is_bad_input
from cellmill.io.tiff.layout import Plane, TiffImage

#: No compression makes anything so many times smaller, but for something small.
_MOST_TIMES, _SMALL = 1 << 17, 1 << 20


def check_complete(image: TiffImage, channels: Sequence[int]) -> None:
    """Check that the file holds all bytes of some channels, before room is made for them.

    Raises:
        BadInput: it ends before them, or lacks some of their strips or tiles.
    """
    for section in image.sections:
        _check_section(section, channels)


def _check_section(image: TiffImage, channels: Sequence[int]) -> None:
    with damage_is_bad_input(image.label, WHOLE):
        for plane in by_plane(image, channels):
            start = contiguous_start(image, plane)
            if start is not None:
                needed = start + plane_bytes(image)
            else:
                ifd = page_of(image, plane)
                segments, _ = segments_of(image, plane)
                if segments.stop > min(len(ifd.dataoffsets), len(ifd.databytecounts)):
                    raise BadInput(
                        image.label,
                        expected=f"{segments.stop} strips or tiles",
                        found=f"{len(ifd.dataoffsets)}",
                    )
                needed = max(ifd.dataoffsets[i] + ifd.databytecounts[i] for i in segments)
                _check_plausible(image, plane)
            end = page_of(image, plane).parent.filehandle.size
            if needed > end:
                raise BadInput(
                    image.label,
                    expected=f"at least {needed} bytes",
                    found=f"{end}: the file is cut off",
                )


def _check_plausible(image: TiffImage, plane: Plane) -> None:
    """Check that what is stored can hold as many pixels as are declared."""
    ifd, page = page_of(image, plane), image.pages.keyframe
    size = math.prod(page.chunks) * image.stored_dtype.itemsize
    for index in segments_of(image, plane)[0]:
        stored = ifd.databytecounts[index]
        if stored and size > stored * _MOST_TIMES + _SMALL:
            raise BadInput(
                image.label,
                expected=f"pixels that {stored} bytes can hold",
                found=f"{size} bytes of them in strip or tile {index + 1}",
            )


def by_plane(image: TiffImage, channels: Sequence[int]) -> dict[Plane, list[tuple[int, int]]]:
    """Group channels by where they are decoded: samples side by side are decoded once.

    Returns:
        By the first plane of a group: (sample, place in `channels`).
    """
    groups: dict[int, list[tuple[Plane, int]]] = defaultdict(list)
    for place, channel in enumerate(channels):
        plane = image.planes[channel]
        groups[plane.number].append((plane, place))
    return {g[0][0]: [(plane.sample, place) for plane, place in g] for g in groups.values()}


def contiguous_start(image: TiffImage, plane: Plane) -> int | None:
    """Return where a plane's bytes begin if they are rows in order, not compressed; else None.

    ImageJ writes stacks above 4 GB so, with a directory for the first plane only.
    """
    page = image.pages.keyframe
    if image.pages.start is not None:
        return image.pages.start + plane.number * plane_bytes(image)
    if page.is_final:
        offsets, counts = page_of(image, plane).dataoffsets, page_of(image, plane).databytecounts
        ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
        if offsets and ends[:-1] == list(offsets[1:]):
            return int(offsets[0]) + plane.stacked * plane_bytes(image)
    return None


def plane_bytes(image: TiffImage) -> int:
    """Return the bytes of a plane that is not compressed, samples side by side together."""
    samples = int(image.pages.keyframe.shaped[4])
    return math.prod(image.shape) * samples * image.stored_dtype.itemsize


def page_of(image: TiffImage, plane: Plane) -> tifffile.TiffPage | tifffile.TiffFrame:
    """Return a plane's page; of planes in a row that have one directory, the first one's.

    Raises:
        BadInput: the file has none, or it is damaged.
    """
    if image.pages.start is not None:
        return image.pages.keyframe
    return image.pages.page(plane.page)


def segments_of(image: TiffImage, plane: Plane) -> tuple[range, int]:
    """Return the strips or tiles of a plane among those of its page, and its depth in them."""
    page = image.pages.keyframe
    separate, depth = page.shaped[:2]
    tile_depth = max(1, page.tiledepth) if page.is_tiled else 1
    layers = math.ceil(depth / tile_depth)
    in_layer = math.prod(page.chunked) // (separate * layers)
    sample, z = divmod(plane.stacked, depth)
    layer = sample * layers + z // tile_depth
    return range(layer * in_layer, (layer + 1) * in_layer), z % tile_depth
