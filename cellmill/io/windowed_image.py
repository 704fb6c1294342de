"""An image that is read window by window: of an OME-Zarr, a microscope's own format, a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellmill.arrays.windows import Box, Section, Windowed, WritableWindowed, is_intact
from cellmill.arrays.zarr import SHARD
from cellmill.io.tiff.read import Losses, converted_pixels

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger

#: Of the memory that may be taken, what a window may fill.
_WINDOW_SHARE = 4


@dataclass(frozen=True)
class WindowedImage:
    """One image; the fields of `TiffImage` mean the same here.

    Attributes:
        label: how messages call it.
        shape: (Y, X) of the chosen level, or (Z, Y, X) of a volume, pixels.
        dtype: what its pixels are read as: uint8, uint16 or float32.
        stored_dtype: what they are stored as.
        channels: names of the channels; their indices where there are none.
        mpp: pixel size (y, x) of the chosen level in microns, (z, y, x) of a volume; None where one
            of them is unknown.
        mpp_source: where it came from.
        level: the chosen pyramid level, 0 is full resolution.
        level_shapes: (Y, X) of every level.
        remarks: what a user should know about how it was understood.
        planes: by channel, (Y, X); of a volume, of its first focal plane.
        stack: of a volume by focal plane, then by channel; else empty.
        times: how many time points there are; the planes are of one of them.
    """

    label: str
    shape: tuple[int, ...]
    dtype: np.dtype
    stored_dtype: np.dtype
    channels: tuple[str, ...]
    mpp: tuple[float, ...] | None
    mpp_source: str
    level: int
    level_shapes: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]
    planes: tuple[Windowed, ...]
    stack: tuple[tuple[Windowed, ...], ...] = ()
    times: int = 1
    unexplained: bool = False
    colour: bool = False

    @property
    def available(self) -> tuple[int, ...]:
        """Channels that can be read: all of them."""
        return tuple(range(len(self.channels)))

    own = available

    @property
    def sections(self) -> Iterator[WindowedImage]:
        """Each focal plane of a volume as an image; of an image itself."""
        if not self.stack:
            yield self
        for z, planes in enumerate(self.stack):
            label = f"{self.label}, focal plane {z}"
            yield replace(self, label=label, shape=self.shape[1:], planes=planes, stack=())


def copy_channels(
    image: WindowedImage,
    channels: Sequence[int],
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Read channels of an image into an array, shard by shard.

    Args:
        image: the open image.
        channels: indices of its channels.
        out: `(Y, X, len(channels))`, or `(Z, Y, X, len(channels))` of a volume; filled.
        memory_mib: what may be taken.
        ledger: marks of the shards that are in `out` already; those that are still there as they
            were written are not read again.

    Raises:
        BadInput: the image is damaged; a pixel is NaN or infinite, or does not fit the dtype.
    """
    marked = ledger.done() if ledger is not None else set()
    for z, section in enumerate(image.sections):
        target = Section(out, z) if image.stack else out
        prefix = f"{z}-" if image.stack else ""
        _copy_section(section, channels, target, memory_mib, ledger, marked, prefix)


def channels_are_alike(image: WindowedImage, memory_mib: int = 1024) -> bool:
    """Whether all channels are alike in every pixel: a grey image that is stored in colours.

    Args:
        image: the open image.
        memory_mib: what may be taken.

    Raises:
        BadInput: the file is damaged.
    """
    room = (memory_mib << 20) // _WINDOW_SHARE // image.stored_dtype.itemsize // 2
    return all(
        np.array_equal(section.planes[0][box.slices], plane[box.slices])
        for section in image.sections
        for box in _boxes(section.shape, room)
        for plane in section.planes[1:]
    )


def _boxes(shape: tuple[int, ...], room: int) -> list[Box]:
    """Return boxes that cover a plane, each of one shard's rows and of at most so many pixels."""
    height, width = shape
    columns = max(1, room // SHARD // SHARD) * SHARD
    return [
        Box(y, min(y + SHARD, height), x, min(x + columns, width))
        for y in range(0, height, SHARD)
        for x in range(0, width, columns)
    ]


def _copy_section(
    image: WindowedImage,
    channels: Sequence[int],
    out: WritableWindowed,
    memory_mib: int,
    ledger: Ledger | None,
    marked: Set[str],
    prefix: str,
) -> None:
    """Read channels of an image, or of one focal plane of a volume, marked with a prefix."""
    room = (memory_mib << 20) // _WINDOW_SHARE // image.stored_dtype.itemsize
    losses = Losses()
    boxes = _boxes(image.shape, room)
    for place, channel in enumerate(channels):
        for number, box in enumerate(boxes):
            unit = f"{prefix}{place}-{number}"
            window = (*box.slices, place)
            if ledger is not None and unit in marked and is_intact(out, window):
                losses.add(*json.loads(ledger.payload(unit)))
                continue
            pixels, *counts = converted_pixels(image.planes[channel][box.slices], out.dtype)
            out[window] = pixels
            losses.add(*counts)
            if ledger is not None:
                ledger.mark(unit, json.dumps(counts).encode())
    losses.refuse(image.label, image.stored_dtype, out.dtype)
