"""Images for tests to write and read back."""

import io
import struct

import numpy as np
import tifffile

from cellmill.io.tiff.layout import open_image
from cellmill.io.tiff.read import read_channels

RNG = np.random.default_rng(0)


def tiff(data, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **options)
    file.seek(0)
    return file


def read(file, channels=(0,), **options):
    with open_image(file, "a.tif", **options) as image:
        out = np.zeros((*image.shape, len(channels)), image.dtype)
        read_channels(image, channels, out)
        return out


def noise(shape, dtype="uint16"):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def changed_tag(content, code, *, page=0, kind=None, count=None, value=None):
    """A little-endian classic TIFF with one entry of a directory changed."""
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        place = tif.pages[page].tags[code].offset
    out = bytearray(content)
    for offset, form, new in ((2, "<H", kind), (4, "<I", count), (8, "<I", value)):
        if new is not None:
            struct.pack_into(form, out, place + offset, new)
    return bytes(out)


def one_directory(tags, data=b"", description=b""):
    """A little-endian classic TIFF of one page: tags are (code, type, count, value).

    The values "data" and "description" stand for where these lie in the file.
    """
    tags = sorted(tags)
    at = {"data": 8 + 2 + 12 * len(tags) + 4}
    at["description"] = at["data"] + len(data)
    out = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for code, kind, count, value in tags:
        out += struct.pack("<HHII", code, kind, count, at.get(value, value))
    return out + struct.pack("<I", 0) + data + description
