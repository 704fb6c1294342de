"""PNG and JPEG files as images to read from: grey, or red, green and blue; whole, in memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

import imagecodecs
import numpy as np
from PIL import Image

from cellmill.errors import BadInput
from cellmill.io.instruments.opened import image_of
from cellmill.io.instruments.stack import Place, Stack, chosen_image
from cellmill.io.tiff.axes import FocalPlane
from cellmill.io.tiff.codestreams import JPEG, PNG_MAGIC, check_end, jpeg_size, png_size
from cellmill.io.tiff.damage import damage_is_bad_input
from cellmill.io.windowed_image import WindowedImage

_COLOURS = ("red", "green", "blue")
#: Of pixels; larger images belong into a file that is read piece by piece.
_MOST_BYTES = 1 << 30
#: A PNG's colour types, by its header.
PALETTE, GREY_ALPHA, RGB_ALPHA = 3, 4, 6


def open_picture(
    uri: str,
    file: IO[bytes],
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
) -> WindowedImage:
    """Open a PNG or a JPEG; alpha is left out, and what a file says of its print size is not read.

    The arguments are those of `cellmill.io.tiff.layout.open_image`; such a file is no pyramid.

    Raises:
        BadInput: it is damaged, larger than 1 GiB of pixels, or of colours that are not red, green
            and blue; or which image, Z or T is meant does not fit one plane.
    """
    label = f"image '{uri}'"
    data = file.read()
    kind = "PNG" if data.startswith(PNG_MAGIC) else "JPEG"
    with damage_is_bad_input(label, f"a whole, readable {kind}"):
        found = _png(data) if kind == "PNG" else _jpeg(data)
    if found.count not in (1, 3):
        raise BadInput(label, expected="a grey or an RGB image", found=f"{found.count} colours")
    size = found.shape[0] * found.shape[1] * found.count * found.dtype.itemsize
    if size > _MOST_BYTES:
        raise BadInput(
            label,
            expected="at most 1 GiB of pixels (a TIFF or an OME-Zarr is read piece by piece)",
            found=f"{size / 2**30:.1f} GiB",
        )
    chosen_image([found.shape], [kind], series, label, "images")
    pixels = _Pixels(found, label, kind)
    stack = Stack(
        source=kind,
        shape=found.shape,
        dtype=found.dtype,
        depth=1,
        times=1,
        channels=_COLOURS if found.count == 3 else (),
        count=found.count,
        mpp=None,
        z_step=None,
        window=pixels.window,
        colour=found.count == 3,
    )
    image = image_of(stack, label, kind, mpp=mpp, z_step=z_step, z=z, t=t)
    if kind == "JPEG":
        lossy = "JPEG has changed the pixels: intensities are not those of the microscope"
        image = replace(image, remarks=(*image.remarks, lossy))
    return image


def png_header(data: bytes) -> tuple[int, int, int, int]:
    """Return rows, columns, bits of a value, and the colour type of a PNG."""
    rows, columns, _ = png_size(data)
    return rows, columns, data[24], data[25]


def decode_png(data: bytes, *, indices: bool = False) -> np.ndarray:
    """Return the pixels of a PNG, `(Y, X)` or `(Y, X, C)`, uint8 or uint16, alpha the last channel.

    Args:
        data: the file.
        indices: of a palette, whether its indices are meant, not its colours.
    """
    if png_header(data)[3] != PALETTE:
        return np.asarray(imagecodecs.png_decode(data))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if indices else image.convert("RGB"))


@dataclass(frozen=True)
class _Found:
    """What the header of a file says, and how its pixels are decoded: `(Y, X, C)`."""

    shape: tuple[int, int]
    count: int
    dtype: np.dtype
    decode: Callable[[], np.ndarray]


def _png(data: bytes) -> _Found:
    rows, columns, bits, kind = png_header(data)
    count = 1 if kind in (0, GREY_ALPHA) else 3
    dtype = np.dtype(np.uint16 if bits == 16 else np.uint8)
    return _Found((rows, columns), count, dtype, partial(decode_png, data))


def _jpeg(data: bytes) -> _Found:
    rows, columns, count = jpeg_size(data)
    if not rows:
        raise ValueError("no rows")
    check_end(data, JPEG)
    return _Found(
        (rows, columns), count, np.dtype(np.uint8), partial(imagecodecs.jpeg_decode, data)
    )


class _Pixels:
    """The pixels of a picture, decoded once, when the first are asked for."""

    def __init__(self, found: _Found, label: str, kind: str) -> None:
        self._found, self._label, self._kind = found, label, kind
        self._lock = threading.Lock()
        self._pixels: np.ndarray | None = None

    def window(self, place: Place, rows: slice, columns: slice) -> np.ndarray:
        """Read a window of a channel, `(Y, X)`."""
        with self._lock:
            if self._pixels is None:
                with damage_is_bad_input(self._label, f"a whole, readable {self._kind}"):
                    self._pixels = np.atleast_3d(self._found.decode())
            return np.array(self._pixels[rows, columns, place[0]])
