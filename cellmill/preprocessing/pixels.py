"""Pixel types that images may have, and the windows by which images are read."""

from __future__ import annotations

import math

import numpy as np

from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput

_SIDES = (256, 2048)


def native_dtype(dtype: np.dtype, what: str = "image") -> np.dtype:
    """The dtype that pixels of a dtype are computed in, without loss.

    Booleans become uint8, float16 becomes float32, foreign byte orders this machine's.

    Raises:
        BadInput: they are neither integers nor floats of up to 64 bits.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "iuf" and dtype.itemsize <= 8:
        return dtype.newbyteorder("=")
    raise BadInput(what, expected="integers or floats of at most 64 bits", found=f"{dtype}")


def window_side(memory: int, bytes_per_pixel: int) -> int:
    """Side of the windows that all threads may hold at once within a budget.

    Args:
        memory: bytes.
        bytes_per_pixel: what a thread holds for each pixel of its window.

    Returns:
        Pixels, a multiple of 256 from 256 to 2048.
    """
    low, high = _SIDES
    side = math.isqrt(memory // (thread_count() * bytes_per_pixel))
    return min(max(side // low * low, low), high)


def read_in_threads(image: Windowed, box: Box, side: int = 512) -> np.ndarray:
    """Read a box of an image that is computed as it is read, parts of it side by side.

    Args:
        image: `(Y, X, …)`.
        box: what to read.
        side: of the parts.
    """
    out = np.empty((*box.shape, *image.shape[2:]), image.dtype)
    grid = Grid(box.shape, side)

    def read(tile: int) -> None:
        part = grid.box(tile)
        out[part.slices] = image[part.moved(box.y0, box.x0).slices]

    in_threads(read, range(len(grid)))
    return out
