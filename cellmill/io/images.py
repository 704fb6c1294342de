"""Images by URI: a TIFF, an OME-Zarr, a file in a microscope's own format, a PNG or a JPEG."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from cellmill.arrays.channels import BLANK
from cellmill.arrays.windows import WritableWindowed
from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.suffixes import is_of_instrument, is_zarr
from cellmill.io.tiff import layout
from cellmill.io.tiff.axes import FocalPlane
from cellmill.io.tiff.codestreams import JPEG_MAGIC, PNG_MAGIC
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.tiff.read import is_grey, read_channels
from cellmill.io.tiff.select import channels_text, describe, select_channels
from cellmill.io.tiff.stored import check_complete

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger
    from cellmill.io.windowed_image import WindowedImage


@contextlib.contextmanager
def open_image_at(
    uri: str, file: IO[bytes] | None, **choice: Any
) -> Iterator[TiffImage | WindowedImage]:
    """Open an image.

    Args:
        uri: of a TIFF, an OME-Zarr, a file in a microscope's own format, a PNG or a JPEG.
        file: the open file; None of an OME-Zarr.
        **choice: which image, level, Z and T, as for `cellmill.io.tiff.layout.open_image`.

    Raises:
        BadInput: it is none of these, it is damaged, or which image is meant is not said.
    """
    if file is None:
        from cellmill.io.ome_zarr import open_zarr_image

        yield open_zarr_image(uri, **choice)
        return
    if is_of_instrument(uri):
        from cellmill.io.instruments.opened import open_instrument_image

        with open_instrument_image(uri, **choice) as image:
            yield image
        return
    if _is_picture(file):
        from cellmill.io.pictures import open_picture

        yield open_picture(uri, file, **choice)
        return
    with layout.open_image(file, uri, **choice) as tiff:
        yield tiff


def _is_picture(file: IO[bytes]) -> bool:
    """Whether an open file begins as a PNG or a JPEG; it is left at its beginning."""
    file.seek(0)
    head = file.read(max(len(PNG_MAGIC), len(JPEG_MAGIC)))
    file.seek(0)
    return head.startswith((PNG_MAGIC, JPEG_MAGIC))


@contextlib.contextmanager
def open_file(uri: str) -> Iterator[IO[bytes] | None]:
    """Open the file of an image; None for an OME-Zarr, which has none."""
    if is_zarr(uri):
        yield None
        return
    with uris.open_uri(uri) as file:
        yield file


def read_pixels(
    image: TiffImage | WindowedImage,
    channels: Sequence[int],
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Read channels into an array; see `cellmill.io.tiff.read.read_channels`."""
    if isinstance(image, TiffImage):
        read_channels(image, channels, out, memory_mib=memory_mib, ledger=ledger)
        return
    from cellmill.io.windowed_image import copy_channels

    copy_channels(image, channels, out, memory_mib=memory_mib, ledger=ledger)


def channels_to_segment(
    image: TiffImage | WindowedImage, text: str, remarks: list[str], memory_mib: int = 1024
) -> list[int]:
    """The channels of an image that are to be segmented: those asked for, or its only one.

    Args:
        image: the open image.
        text: what the user asked for, as `select_channels` takes it; empty is the only one.
        remarks: what a user should know of the choice is added.
        memory_mib: what may be taken, to see whether a colour image is grey.

    Raises:
        BadInput: a channel is not there, or the image has several and none is asked for.
    """
    if text.strip():
        return select_channels(text, image.channels, image.label)
    if len(image.channels) == 1:
        return [0]
    if len(image.own) == 1:
        name = image.channels[image.own[0]]
        remarks.append(f"one file of a set of {len(image.channels)} channels: its own is {name}")
        return [*image.own]
    if image.colour and _is_grey(image, memory_mib):
        remarks.append("grey stored as red, green and blue: one of them is taken")
        return [0]
    if image.unexplained:
        raise BadInput(
            image.label,
            expected="channels=… to say which page to segment (or z=… or t=…, if they are planes)",
            found=f"{len(image.channels)} pages and no word on what they are",
        )
    what = "a colour image, " if image.colour else ""
    raise BadInput(
        image.label,
        expected="channels=… to say which to segment",
        found=f"{what}{describe(image.channels)}",
    )


def _is_grey(image: TiffImage | WindowedImage, memory_mib: int) -> bool:
    if isinstance(image, TiffImage):
        return is_grey(image, memory_mib)
    from cellmill.io.windowed_image import channels_are_alike

    return channels_are_alike(image, memory_mib)


@dataclass(frozen=True)
class Image:
    """An image that was read, and what its file says of it.

    Attributes:
        pixels: `(Y, X, C)`, or `(Z, Y, X, C)` of a volume, uint8, uint16 or float32.
        channels: their names; indices in the file where it names none.
        mpp: pixel size (y, x) in microns, (z, y, x) of a volume; None where one is unknown.
        mpp_source: where it came from.
        remarks: what a user should know about how the file was understood.
    """

    pixels: np.ndarray
    channels: tuple[str, ...]
    mpp: tuple[float, ...] | None
    mpp_source: str
    remarks: tuple[str, ...]


@contextlib.contextmanager
def open_image(
    uri: str | os.PathLike[str],
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
) -> Iterator[TiffImage | WindowedImage]:
    """Open an image and see what it is: shape, channels, pixel size, levels; no pixel is read.

    Args:
        uri: path or URI of a TIFF, an OME-Zarr, a PNG, a JPEG, or a microscope's own file.
        mpp: the pixel size at full resolution, microns; overrides what the file says; 0: the
            file's.
        target_mpp: of a pyramid, the coarsest level that is not coarser than this; 0: full
            resolution.
        z_step: microns between focal planes; overrides what the file says; 0: the file's.
        z: which focal plane, 0-based; -1: the only one; `"all"`: all of them, a volume.
        t: which time point, 0-based; -1: the only one.
        series: which image of a file with several of one size; -1: the only one, or the largest.

    Yields:
        The image, open within the block.

    Raises:
        BadInput: nothing is there, it is none of these, it is damaged, or which image, Z or T is
            meant is not said.
    """
    place = os.fspath(uri)
    choice: dict[str, Any] = {"mpp": mpp, "target_mpp": target_mpp, "z_step": z_step}
    choice |= {"z": z, "t": t, "series": series}
    with open_file(place) as file, open_image_at(place, file, **choice) as image:
        yield image


def read_image(
    uri: str | os.PathLike[str],
    *,
    channels: str | int | Sequence[str | int] | None = None,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
    memory_mib: int = 1024,
) -> Image:
    """Read an image into memory. Only the pages of the channels asked for are read.

    Args:
        uri: path or URI of a TIFF, an OME-Zarr, a PNG, a JPEG, or a microscope's own file.
        channels: names or 0-based indices; `None` for all.
        mpp: see `open_image`, as for the arguments that follow.
        target_mpp: see there.
        z_step: see there.
        z: see there.
        t: see there.
        series: see there.
        memory_mib: memory to take at most while decoding, beyond the pixels that are returned.

    Raises:
        BadInput: see `open_image`; or a channel is not there; or a pixel is NaN or infinite, or too
            large for float32.
    """
    sizes = {"mpp": mpp, "target_mpp": target_mpp, "z_step": z_step}
    with open_image(uri, **sizes, z=z, t=t, series=series) as image:
        text = channels_text(channels)
        chosen = select_channels(text, image.channels, image.label) if text else image.available
        if BLANK in chosen:
            raise BadInput(
                f"channels of {image.label}", expected="channels that it has", found="a blank one"
            )
        if isinstance(image, TiffImage):
            check_complete(image, chosen)
        pixels = np.empty((*image.shape, len(chosen)), image.dtype)
        read_pixels(image, chosen, pixels, memory_mib=memory_mib)
        return Image(
            pixels,
            tuple(image.channels[channel] for channel in chosen),
            image.mpp,
            image.mpp_source,
            image.remarks,
        )
