"""A stack of one channel read from a file whole: beads, a point spread function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellmill.errors import BadInput
from cellmill.io.digests import checked_digest
from cellmill.io.images import open_file, open_image_at, read_pixels
from cellmill.io.tiff.axes import FocalPlane


@dataclass(frozen=True)
class Light:
    """What was read.

    Attributes:
        pixels: `(Z, Y, X)`, or `(Y, X)` where there is one plane.
        mpp: µm per voxel, an axis each; None where one is unknown.
        mpp_source: where that came from.
    """

    pixels: np.ndarray
    mpp: tuple[float, ...] | None
    mpp_source: str


def read_light(uri: str, digest: str = "") -> Light:
    """Read all focal planes of the only channel of a file.

    Args:
        uri: path or URI of a TIFF or an OME-Zarr.
        digest: of its bytes; empty: not known.

    Raises:
        BadInput: it is another file, has several channels, or cannot be read.
    """
    with open_file(uri) as file:
        checked_digest(uri, digest, file)
        with open_image_at(uri, file, z="all") as image:
            planes: FocalPlane = "all" if image.shape[0] > 1 else 0
        with open_image_at(uri, file, z=planes) as image:
            if len(image.channels) != 1:
                found = f"{len(image.channels)}: {', '.join(image.channels)}"
                raise BadInput(f"channels of {image.label}", expected="one", found=found)
            pixels = np.empty((*image.shape, 1), image.dtype)
            read_pixels(image, [0], pixels)
            return Light(pixels[..., 0], image.mpp, image.mpp_source)
