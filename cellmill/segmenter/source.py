"""The image that is to be segmented: an array, an image that was read, or a path or URI."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.channels import BLANK, SelectedChannels, filled_channels
from cellmill.arrays.windows import WritableWindowed, sections_of
from cellmill.errors import BadInput
from cellmill.io.images import Image, channels_to_segment, open_image, read_pixels
from cellmill.io.naming import name_of
from cellmill.io.tiff.axes import FocalPlane
from cellmill.io.tiff.select import channels_text, describe, select_channels
from cellmill.models.card import ModelCard
from cellmill.preprocessing.pixels import native_dtype

ImageLike = np.ndarray | Image | str | os.PathLike[str]
"""What can be segmented."""
Channels = str | int | Sequence[str | int] | None
"""Channels as a Python user names them."""
PixelSize = float | tuple[float, ...] | None
"""Microns per pixel, of both axes or (y, x); of a volume (z, y, x)."""


@dataclass(frozen=True)
class Source:
    """An image that is open: the channels that its model wants, and what is known of it.

    Attributes:
        image: `(Y, X, C)`, the model's channels in its order.
        name: of the image.
        what: what messages call it.
        mpp: pixel size (y, x) in microns, None where unknown.
        mpp_source: where it came from.
        remarks: what a user should know about how it was understood.
        stack: of a volume its planes as images; `image` is the one in the middle.
    """

    image: SelectedChannels
    name: str
    what: str
    mpp: tuple[float, ...] | None
    mpp_source: str
    remarks: tuple[str, ...] = ()
    stack: tuple[SelectedChannels, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Which part of a file is meant; see `cellmill.open_image`."""

    z: FocalPlane = -1
    t: int = -1
    series: int = -1


def source_in_memory(
    image: np.ndarray | Image,
    card: ModelCard,
    channels: Channels,
    mpp: PixelSize,
    *,
    volume: bool = False,
) -> Source:
    """Take an array, or an image that was read.

    Args:
        image: `(Y, X)` or `(Y, X, C)` of numbers, or what `read_image` gives.
        card: of the model.
        channels: which of its channels the model is given, by index (or by name, of an image that
            was read); `None` for all.
        mpp: pixel size in microns; `None` is what the image says, if anything.
        volume: whether the array is `(Z, Y, X)` or `(Z, Y, X, C)`.

    Raises:
        BadInput: it has other axes, no pixels, or no numbers; or the model wants other channels.
    """
    read = image if isinstance(image, Image) else None
    pixels = np.asarray(read.pixels if read else image)
    what = "image"
    native_dtype(pixels.dtype, what)
    volume = volume or (read is not None and pixels.ndim == 4)
    planar = pixels[..., np.newaxis] if pixels.ndim == 2 + volume else pixels
    if planar.ndim != 3 + volume or 0 in planar.shape:
        expected = "(Z, Y, X) or (Z, Y, X, C)" if volume else "(Y, X) or (Y, X, C)"
        more = '; a volume with z="all"' if pixels.ndim == 4 and not volume else ""
        raise BadInput(what, expected=f"{expected}, not empty{more}", found=f"{pixels.shape}")
    names = read.channels if read else tuple(str(i) for i in range(planar.shape[-1]))
    text = channels_text(channels)
    chosen = select_channels(text, names, what) if text else [*range(planar.shape[-1])]
    has = f"{describe(names)} in shape {pixels.shape}"
    chosen = _checked_channels(chosen, card, what, has)
    known = read.mpp if read else None
    given = checked_mpp(mpp, volume)
    planes = [SelectedChannels(each, chosen, what) for each in sections_of(planar, 3)]
    return Source(
        planes[len(planes) // 2],
        what,
        what,
        given or known,
        "parameter" if given else read.mpp_source if read else "unknown",
        read.remarks if read else (),
        tuple(planes) if volume else (),
    )


def source_at(
    place: str | os.PathLike[str],
    card: ModelCard,
    channels: Channels,
    mpp: PixelSize,
    choice: Choice,
    array: Callable[[tuple[int, ...], np.dtype], WritableWindowed],
    memory_mib: int,
) -> Source:
    """Read the channels that a model wants from a file.

    Args:
        place: path or URI, as `open_image` takes it.
        card: of the model.
        channels: as `tiff_to_npz` takes them, or names and indices; `None` for the only one.
        mpp: pixel size in microns; `None` is the file's.
        choice: which part of the file.
        array: gives what pixels are read into, from its shape and dtype.
        memory_mib: memory to take while decoding.

    Raises:
        BadInput: the file cannot be read, see `cellmill.open_image`; or the model wants other
            channels.
    """
    uri, volume = os.fspath(place), choice.z == "all"
    given = checked_mpp(mpp, volume)
    remarks: list[str] = []
    with open_image(uri, z=choice.z, t=choice.t, series=choice.series) as image:
        remarks += image.remarks
        chosen = channels_to_segment(image, channels_text(channels), remarks, memory_mib)
        chosen = _checked_channels(chosen, card, image.label, describe(image.channels))
        kept = [c for c in dict.fromkeys(chosen) if c != BLANK]
        whole = (*image.shape, len(kept))
        # Volumes are segmented in memory.
        pixels = np.empty(whole, image.dtype) if volume else array(whole, image.dtype)
        read_pixels(image, kept, pixels, memory_mib=memory_mib)
        places = [BLANK if c == BLANK else kept.index(c) for c in chosen]
        planes = [SelectedChannels(each, places, image.label) for each in sections_of(pixels, 3)]
        return Source(
            planes[len(planes) // 2],
            name_of(uri),
            image.label,
            given or image.mpp,
            "parameter" if given else image.mpp_source,
            tuple(remarks),
            tuple(planes) if volume else (),
        )


def checked_mpp(mpp: PixelSize, volume: bool = False) -> tuple[float, ...] | None:
    """A pixel size as (y, x), or (z, y, x) of a volume; `None` where none is given.

    Raises:
        BadInput: it is no positive number, or not one or two of them.
    """
    if mpp is None:
        return None
    sizes = np.asarray(mpp, float) if np.asarray(mpp).dtype.kind in "iuf" else np.zeros(0)
    wanted: tuple[tuple[int, ...], ...] = ((3,),) if volume else ((), (2,))
    if sizes.shape not in wanted or not (np.isfinite(sizes).all() and (sizes > 0).all()):
        expected = (
            "microns of a voxel (z, y, x)" if volume else "microns per pixel, or (y, x) of them"
        )
        raise BadInput("mpp", expected=expected, found=f"{mpp!r}")
    return tuple(float(size) for size in np.broadcast_to(sizes, 2 + volume))


def _checked_channels(chosen: Sequence[int], card: ModelCard, what: str, has: str) -> list[int]:
    wanted = [channel.name for channel in card.input.channels]
    chosen = filled_channels(chosen, len(wanted), card.input.fewest_channels)
    if len(chosen) != len(wanted):
        raise BadInput(
            f"channels of {what}",
            expected=f"{len(wanted)} for model '{card.name}' ({', '.join(wanted)}); channels=[…] "
            "chooses",
            found=has,
        )
    return chosen
