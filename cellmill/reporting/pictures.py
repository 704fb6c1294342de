"""Pictures as files and as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

#: A picture whose PNG is larger than this travels in a page as JPEG.
PNG_LIMIT = 4 << 20
_JPEG_QUALITY = 92


def encode_png(pixels: np.ndarray) -> bytes:
    """Return uint8 greys ``(Y, X)`` or RGB ``(Y, X, 3)`` as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return uint8 greys ``(Y, X)`` or RGB ``(Y, X, 3)`` as a JPEG file, colours not subsampled."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def picture_uri(pixels: np.ndarray) -> tuple[str, bool]:
    """Return a picture as a data URI: PNG, or JPEG where that would be too large.

    Returns:
        The URI, and whether it shows every pixel as it is.
    """
    png = encode_png(pixels)
    if len(png) <= PNG_LIMIT:
        return uri_of(png, "png"), True
    return uri_of(encode_jpeg(pixels, _JPEG_QUALITY), "jpeg"), False


def uri_of(data: bytes, kind: str) -> str:
    """Return a picture's file as a data URI; ``kind`` is ``png`` or ``jpeg``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
