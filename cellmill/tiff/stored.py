"""Where a plane's bytes lie in a TIFF, and whether they are all there; no pixel is decoded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import tifffile

from cellmill.errors import BadInput
from cellmill.tiff.damage import WHOLE, damage_is_bad_input
from cellmill.tiff.layout import Plane, TiffImage


def check_complete(image: TiffImage, channels: Sequence[int]) -> None:
    """Check that the file holds all bytes of some channels, before room is made for them.

    Raises:
        BadInput: it ends before them, or lacks some of their strips or tiles.
    """
    with damage_is_bad_input(image.label, WHOLE):
        end = image.pages.keyframe.parent.filehandle.size
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
            if needed > end:
                raise BadInput(
                    image.label,
                    expected=f"at least {needed} bytes",
                    found=f"{end}: the file is cut off",
                )


def by_plane(image: TiffImage, channels: Sequence[int]) -> dict[Plane, list[tuple[int, int]]]:
    """Group channels by where they are decoded: samples side by side are decoded once.

    Returns:
        By the first plane of a group: (sample, place in ``channels``).
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
    if image.pages.dataoffset is not None:
        return int(image.pages.dataoffset) + plane.number * plane_bytes(image)
    if page.is_final:
        offsets = page_of(image, plane).dataoffsets
        return int(offsets[0]) + plane.stacked * plane_bytes(image) if offsets else None
    return None


def plane_bytes(image: TiffImage) -> int:
    """Return the bytes of a plane that is not compressed, samples side by side together."""
    samples = int(image.pages.keyframe.shaped[4])
    return math.prod(image.shape) * samples * image.stored_dtype.itemsize


def page_of(image: TiffImage, plane: Plane) -> tifffile.TiffPage | tifffile.TiffFrame:
    """Return a plane's page.

    Raises:
        BadInput: the file has none, or it is damaged.
    """
    with damage_is_bad_input(image.label, WHOLE):
        found = image.pages[plane.page]
    if found is None:
        raise BadInput(image.label, expected="a page for every channel", found="a missing page")
    return found


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
