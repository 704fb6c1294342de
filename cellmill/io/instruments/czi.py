"""Zeiss CZI, read through `pylibCZIrw`, Zeiss's own library.

A scene is one image; where its tiles overlap, the later one lies on top, as Zeiss's programs show
it. Source of the metadata's names: the CZI format's XML (`Scaling/Items/Distance`, metres;
`Information/Image/Dimensions/Channels`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.io.instruments.stack import Place, Stack, chosen_image

#: By the format's names of pixels: what they are stored as, and samples a pixel.
_PIXELS = {
    "Gray8": ("uint8", 1),
    "Gray16": ("uint16", 1),
    "Gray32Float": ("float32", 1),
    "Bgr24": ("uint8", 3),
    "Bgr48": ("uint16", 3),
}
_COLOURS = ("red", "green", "blue")


@contextlib.contextmanager
def open_stack(path: Path, label: str, series: int) -> Iterator[Stack]:
    """Open a scene of a CZI file.

    Args:
        path: of the file.
        label: how messages call it.
        series: which scene; -1: the only one, or the largest.

    Raises:
        BadInput: pylibCZIrw is not installed, or which scene is meant is not said.
    """
    czi = extras.load("pylibCZIrw.czi", "reading CZI")
    with czi.open_czi(str(path)) as file:
        yield _stack(file, label, series)


def _stack(file: Any, label: str, series: int) -> Stack:
    scenes = file.scenes_bounding_rectangle_no_pyramid
    numbers = sorted(scenes)
    whole = file.total_bounding_rectangle_no_pyramid
    boxes = [scenes[n] for n in numbers] or [whole]
    at = chosen_image([(b.h, b.w) for b in boxes], [""] * len(boxes), series, label, "scenes")
    box, scene = boxes[at], numbers[at] if numbers else None
    extent = file.total_bounding_box_no_pyramid
    first = {axis: extent[axis][0] for axis in "CZT" if axis in extent}
    length = {axis: extent[axis][1] - extent[axis][0] for axis in first}
    kinds = {str(file.pixel_types[channel]) for channel in file.pixel_types}
    if len(kinds) != 1 or not kinds <= set(_PIXELS):
        raise BadInput(
            label,
            expected=f"channels of one kind of pixel, {', '.join(_PIXELS)}",
            found=", ".join(sorted(kinds)) or "none",
        )
    stored, samples = _PIXELS[kinds.pop()]
    count = length.get("C", 1)
    if samples > 1 and count > 1:
        raise BadInput(label, expected="one channel of colours", found=f"{count} of them")

    def window(place: Place, rows: slice, columns: slice) -> np.ndarray:
        channel, z, t = place
        plane = dict(zip("CZT", (0 if samples > 1 else channel, z, t), strict=True))
        roi = (
            box.x + columns.start,
            box.y + rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )
        read = file.read(
            roi=roi, plane={axis: first[axis] + plane[axis] for axis in first}, scene=scene
        )
        # Colours are stored as blue, green, red.
        return np.asarray(read[..., samples - 1 - channel if samples > 1 else 0])

    about = file.metadata.get("ImageDocument", {}).get("Metadata", {})
    sizes = _distances(about)
    return Stack(
        source="CZI",
        shape=(box.h, box.w),
        dtype=np.dtype(stored),
        depth=length.get("Z", 1),
        times=length.get("T", 1),
        channels=_COLOURS if samples > 1 else _channels(about, count),
        count=samples if samples > 1 else count,
        mpp=(sizes["Y"], sizes["X"]) if {"Y", "X"} <= set(sizes) else None,
        z_step=sizes.get("Z"),
        window=window,
        colour=samples > 1,
    )


def _distances(about: Mapping[str, Any]) -> dict[str, float]:
    """Return microns a pixel, by axis."""
    found: dict[str, float] = {}
    for each in _listed(about, "Scaling", "Items", "Distance"):
        with contextlib.suppress(TypeError, ValueError, KeyError):
            size = float(each["Value"]) * 1e6
            if 0 < size < float("inf"):
                found[each["@Id"]] = size
    return found


def _channels(about: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the channels' names; none where not each has one."""
    where = ("Information", "Image", "Dimensions", "Channels", "Channel")
    names = [str(each.get("@Name") or each.get("Fluor") or "") for each in _listed(about, *where)]
    return tuple(names) if len(names) == count and all(names) else ()


def _listed(about: Any, *keys: str) -> list[Mapping[str, Any]]:
    """Return what lies at a place of the XML, where one element stands for a list of one."""
    for key in keys:
        about = about.get(key) if isinstance(about, Mapping) else None
    found = about if isinstance(about, list) else [about]
    return [each for each in found if isinstance(each, Mapping)]
