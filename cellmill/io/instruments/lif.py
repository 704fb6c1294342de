"""Leica LIF, whose XML is read by `liffile`; pixels are read where the XML says that they lie.

They are stored as they are: a value lies at the sum of its indices times the bytes from one to the
next along each dimension (`DimensionDescription/@BytesInc`, `ChannelDescription/@BytesInc`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.io.instruments.stack import Place, Stack, chosen_image
from cellmill.io.tiff.pixel_size import microns_per

#: The format's numbers of dimensions (`DimID`).
_AXES = {"1": "X", "2": "Y", "3": "Z", "4": "T"}
#: What a channel of a colour picture shows (`ChannelTag`); 0 is a channel of its own.
_COLOURS = {"1": "red", "2": "green", "3": "blue"}
_DESCRIBED = "./Data/Image/ImageDescription"


@contextlib.contextmanager
def open_stack(path: Path, label: str, series: int) -> Iterator[Stack]:
    """Open an image of a LIF file.

    Args:
        path: of the file.
        label: how messages call it.
        series: which image; -1: the only one, or the largest.

    Raises:
        BadInput: liffile is not installed, or which image is meant is not said.
    """
    liffile = extras.load("liffile", "reading LIF")
    with liffile.LifFile(path) as file:
        images = [each for each in file.images if each.xml_element.find(_DESCRIBED) is not None]
        axes = [_axes(each) for each in images]
        shapes = [tuple(a[n].length if n in a else 0 for n in "YX") for a in axes]
        names = [str(each.name) for each in images]
        at = chosen_image(shapes, names, series, label, "images")  # type: ignore[arg-type]
        yield _stack(path, images[at], axes[at], label)


@dataclass(frozen=True)
class _Axis:
    """One dimension: how long, bytes from one to the next, and microns."""

    length: int
    stride: int
    microns: float | None


def _axes(image: Any) -> dict[str, _Axis]:
    """Return the dimensions of an image, by their letter; `?` and its number where it has none."""
    found = {}
    for each in image.xml_element.iterfind(f"{_DESCRIBED}/Dimensions/DimensionDescription"):
        number, length = each.attrib["DimID"], int(each.attrib["NumberOfElements"])
        scale = microns_per(each.attrib.get("Unit", ""))
        microns = None
        if scale and length > 1:
            # From the first element to the last; stacks are recorded in either direction.
            step = abs(float(each.attrib["Length"])) / (length - 1) * scale
            microns = step if 0 < step < float("inf") else None
        axis = _AXES.get(number, f"?{number}")
        found[axis] = _Axis(length, int(each.attrib["BytesInc"]), microns)
    return found


def _stack(path: Path, image: Any, axes: Mapping[str, _Axis], label: str) -> Stack:
    other = [name for name, axis in axes.items() if name not in "YXZT" and axis.length > 1]
    if other or not {"Y", "X"} <= set(axes):
        # The tiles of a mosaic overlap by what only the program that recorded them knows.
        raise BadInput(
            label,
            expected="an image along Y, X, Z and T (a tile scan is merged in LAS X first)",
            found=f"dimensions {', '.join(axes)}",
        )
    channels = image.xml_element.findall(f"{_DESCRIBED}/Channels/ChannelDescription")
    kinds = {_dtype(each.attrib) for each in channels}
    if len(kinds) != 1:
        found = ", ".join(sorted(kind.name for kind in kinds)) or "none"
        raise BadInput(label, expected="channels of one kind of pixel", found=found)
    dtype = kinds.pop()
    starts = [int(each.attrib["BytesInc"]) for each in channels]
    block = image.memory_block
    one = _Axis(1, 0, None)
    z, t, y, x = (axes.get(name, one) for name in "ZTYX")
    if block.offset < 0:
        raise BadInput(label, expected="pixels within the file", found="none there")

    def window(place: Place, rows: slice, columns: slice) -> np.ndarray:
        channel, depth, time = place
        start = starts[channel] + depth * z.stride + time * t.stride
        start += rows.start * y.stride + columns.start * x.stride
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        end = start + (shape[0] - 1) * y.stride + (shape[1] - 1) * x.stride + dtype.itemsize
        if not 0 <= start < end <= block.size:
            raise BadInput(
                label, expected=f"{end} bytes of pixels", found=f"{block.size}: it is damaged"
            )
        with path.open("rb") as file:
            file.seek(block.offset + start)
            data = file.read(end - start)
        if len(data) < end - start:
            raise BadInput(label, expected="a whole file", found="one that is cut off")
        return np.ndarray(shape, dtype, data, strides=(y.stride, x.stride)).copy()

    tags = [each.attrib.get("ChannelTag", "0") for each in channels]
    colour = sorted(tags) == sorted(_COLOURS)
    names = tuple(_COLOURS[tag] for tag in tags) if colour else _names(channels)
    mpp = None if y.microns is None or x.microns is None else (y.microns, x.microns)
    return Stack(
        source="LIF",
        shape=(y.length, x.length),
        dtype=dtype,
        depth=z.length,
        times=t.length,
        channels=names,
        count=len(channels),
        mpp=mpp,
        z_step=z.microns,
        window=window,
        colour=colour,
    )


def _dtype(channel: Mapping[str, str]) -> np.dtype:
    """Return what a channel's values are stored as, by `DataType` and bits (`Resolution`)."""
    bits = int(channel["Resolution"])
    size = next((n for n in (1, 2, 4, 8) if bits <= 8 * n), 8)
    return np.dtype(f"<{'f' if channel.get('DataType') == '1' else 'u'}{size}")


def _names(channels: list[Any]) -> tuple[str, ...]:
    """Return the channels' names: the dye where it is given, or the colour it is shown in."""
    names = []
    for each in channels:
        said = {p.findtext("Key"): p.findtext("Value") for p in each.iterfind("./ChannelProperty")}
        names.append(said.get("DyeName") or each.attrib.get("LUTName", ""))
    return tuple(names) if all(names) else ()
