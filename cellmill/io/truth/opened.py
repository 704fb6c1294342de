"""What an open TIFF or OME-Zarr says of the truth in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import tifffile

from cellmill.errors import BadInput
from cellmill.io.images import open_image_at
from cellmill.io.tiff.axes import FocalPlane
from cellmill.io.tiff.layout import TiffImage
from cellmill.io.tiff.stored import check_complete
from cellmill.io.truth.kinds import Facts, named

if TYPE_CHECKING:
    from cellmill.io.windowed_image import WindowedImage

_JPEG = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


@contextlib.contextmanager
def open_truth(
    name: str, file: IO[bytes] | None, z: FocalPlane = -1, t: int = -1
) -> Iterator[TiffImage | WindowedImage]:
    """Open a TIFF or an OME-Zarr as an image, or a volume; messages call it a truth."""
    try:
        with open_image_at(name, file, z=z, t=t) as image:
            if isinstance(image, TiffImage):
                check_complete(image, range(len(image.channels)))
            yield image
    except BadInput as error:
        what = f"truth {error.what.removeprefix('image ')}"
        what = what if error.what.startswith("image ") else error.what
        raise error.about(what) from error


def facts_of(image: TiffImage | WindowedImage, label: str) -> tuple[Facts, list[int], int | None]:
    """Say what the channels of an image are, as those of a truth.

    Args:
        image: the open image.
        label: how messages call it.

    Returns:
        The facts; the channels that are planes or primaries; and that of alpha, None without.

    Raises:
        BadInput: its pixels were compressed with loss, so that they are no labels any more.
    """
    count = len(image.channels)
    if not isinstance(image, TiffImage):
        names = named(image.channels)
        said = f"OME-Zarr, {_planes_of(image, count, 'channel')}"
        return Facts(label, count, image.stored_dtype, names, said=said), [*range(count)], None
    page = image.pages.keyframe
    if page.compression in _JPEG:
        raise BadInput(label, expected="labels", found="JPEG compression, which keeps none")
    colour, alpha = image.colour, None
    kinds = [*page.extrasamples]
    base = page.samplesperpixel - len(kinds)
    extra = [base + i for i in range(len(kinds))] if count == page.samplesperpixel else []
    remarks = [remark for remark in image.remarks if "0 is white" in remark]
    for channel, kind in zip(extra, kinds, strict=False):
        if kind in _ALPHA:
            alpha = channel
    channels = [c for c in range(count) if c != alpha]
    if colour and len(channels) > 3:
        remarks.append(f"{len(channels) - 3} samples beside red, green and blue are not used")
        channels = channels[:3]
    names = () if colour else named(image.channels)
    names = tuple(names[c] for c in channels) if names else ()
    what = "RGB" if colour else getattr(page.photometric, "name", f"{page.photometric}").lower()
    planes = _planes_of(image, len(channels), "plane")
    said = f"TIFF, {what}, {planes}{' and alpha' * (alpha is not None)}"
    facts = Facts(label, len(channels), image.stored_dtype, names, colour, said, tuple(remarks))
    return facts, channels, alpha


def _planes_of(image: TiffImage | WindowedImage, channels: int, what: str) -> str:
    """How many planes an image has, or a volume, and of how many channels."""
    if not image.stack:
        return _counted(channels, what)
    several = f" of {channels} channels" if channels > 1 else ""
    return _counted(len(image.stack), "plane") + several


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
