"""Images for tests to write and read back."""

import io

import numpy as np
import tifffile

from cellmill.tiff.layout import open_image
from cellmill.tiff.read import read_channels

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
