"""An OME-Zarr 0.5 as an image to read from: which level, focal plane and channels are meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellmill.arrays.ome import read_image
from cellmill.arrays.windows import Box, Windowed, WritableWindowed
from cellmill.arrays.zarr import SHARD, open_stored
from cellmill.errors import BadInput
from cellmill.tiff.layout import PIXEL_DTYPES, coarsest_level, pick_plane
from cellmill.tiff.read import Losses, converted_pixels

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger

#: Of the memory that may be taken, what a window may fill.
_WINDOW_SHARE = 4


@dataclass(frozen=True)
class ZarrImage:
    """One image of an OME-Zarr; the fields of ``TiffImage`` mean the same here.

    Attributes:
        label: how messages call it.
        shape: (Y, X) of the chosen level, pixels.
        dtype: what its pixels are read as: uint8, uint16 or float32.
        stored_dtype: what they are stored as.
        channels: names of the channels; their indices where there are none.
        mpp: pixel size (y, x) of the chosen level in microns, None where unknown.
        mpp_source: where it came from.
        level: the chosen pyramid level, 0 is full resolution.
        level_shapes: (Y, X) of every level.
        remarks: what a user should know about how it was understood.
        planes: by channel, (Y, X).
    """

    label: str
    shape: tuple[int, int]
    dtype: np.dtype
    stored_dtype: np.dtype
    channels: tuple[str, ...]
    mpp: tuple[float, float] | None
    mpp_source: str
    level: int
    level_shapes: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]
    planes: tuple[Windowed, ...]
    unexplained: bool = False
    colour: bool = False


def open_zarr_image(
    uri: str,
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z: int = -1,
    t: int = -1,
    series: int = -1,
) -> ZarrImage:
    """Open an OME-Zarr 0.5; the arguments are those of ``cellmill.tiff.layout.open_image``.

    Raises:
        BadInput: it is none, it is damaged, or which Z or T is meant is not said.
    """
    label = f"image '{uri}'"
    ome = read_image(f"{uri.rstrip('/')}/{series}" if series >= 0 else uri)
    if set(ome.axes) - set("tczyx"):
        raise BadInput(label, expected="axes of t, c, z, y and x", found=ome.axes)
    arrays = [open_stored(level.uri) for level in ome.levels]
    for array in arrays:
        if len(array.shape) != len(ome.axes):
            raise BadInput(label, expected=f"axes {ome.axes}", found=f"shape {array.shape}")
    shapes = tuple((int(a.shape[-2]), int(a.shape[-1])) for a in arrays)
    remarks: list[str] = []
    known = (mpp, mpp) if mpp else ome.levels[0].mpp
    sizes = [
        (known[0] * shapes[0][0] / y, known[1] * shapes[0][1] / x) if known else None
        for y, x in shapes
    ]
    number = 0
    if target_mpp and len(arrays) > 1:
        if known is None:
            remarks.append("the pyramid is read at full resolution, for its pixel size is unknown")
        else:
            number = coarsest_level([size for size in sizes if size], target_mpp)
    array = arrays[number]
    stored = array.dtype
    if stored.name not in PIXEL_DTYPES:
        raise BadInput(label, expected="pixels that are integers or floats", found=f"{stored}")
    if not all(array.shape):
        raise BadInput(label, expected="pixels", found=f"shape {array.shape}")
    lengths = dict(zip(ome.axes, array.shape, strict=True))
    places = {
        axis: pick_plane(axis.upper(), lengths.get(axis, 1), asked, label)
        for axis, asked in (("z", z), ("t", t))
    }
    count = lengths.get("c", 1)
    planes = []
    for channel in range(count):
        at = {**places, "c": channel}
        planes.append(array.part(tuple(at.get(axis, slice(None)) for axis in ome.axes)))
    named = len(ome.channels) == count
    return ZarrImage(
        label=label,
        shape=shapes[number],
        dtype=np.dtype(PIXEL_DTYPES[stored.name]),
        stored_dtype=stored,
        channels=ome.channels if named else tuple(str(i) for i in range(count)),
        mpp=sizes[number],
        mpp_source="parameter" if mpp else "OME-Zarr" if known else "unknown",
        level=number,
        level_shapes=shapes,
        remarks=tuple(remarks),
        planes=tuple(planes),
    )


def copy_channels(
    image: ZarrImage,
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
        out: ``(Y, X, len(channels))``; filled.
        memory_mib: what may be taken.
        ledger: marks of the shards that are in ``out`` already; they are not read again.

    Raises:
        BadInput: the image is damaged; a pixel is NaN or infinite, or does not fit the dtype.
    """
    room = (memory_mib << 20) // _WINDOW_SHARE // image.stored_dtype.itemsize
    columns = max(1, room // SHARD // SHARD) * SHARD
    losses = Losses()
    marked = ledger.done() if ledger is not None else set()
    height, width = image.shape
    boxes = [
        Box(y, min(y + SHARD, height), x, min(x + columns, width))
        for y in range(0, height, SHARD)
        for x in range(0, width, columns)
    ]
    for place, channel in enumerate(channels):
        for number, box in enumerate(boxes):
            unit = f"{place}-{number}"
            if unit in marked and ledger is not None:
                losses.add(*json.loads(ledger.payload(unit)))
                continue
            pixels, *counts = converted_pixels(image.planes[channel][box.slices], out.dtype)
            window = (*box.slices, place)
            out[window] = pixels
            losses.add(*counts)
            if ledger is not None:
                ledger.mark(unit, json.dumps(counts).encode())
    losses.refuse(image.label, image.stored_dtype, out.dtype)
