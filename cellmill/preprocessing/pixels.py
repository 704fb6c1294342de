"""Pixel types that images may have, and reading images by windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compiled import in_threads, thread_count
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


def box_of(window: Any, shape: Sequence[int]) -> tuple[Box, tuple[Any, ...]]:
    """Read an index of a `(Y, X, …)` array as a box and what is left to take from its pixels.

    Args:
        window: slices of step 1, integers or `...`, from the first axis on.
        shape: of the array.

    Returns:
        The box, never empty along an axis that an integer picks, and the index to apply to the
        box's pixels: integers drop their axis.
    """
    items = window if isinstance(window, tuple) else (window,)
    if Ellipsis in items:
        at = items.index(Ellipsis)
        fill = (slice(None),) * (len(shape) - len(items) + 1)
        items = (*items[:at], *fill, *items[at + 1 :])
    items = (*items, *(slice(None),) * (2 - len(items)))
    edges: list[int] = []
    rest: list[Any] = []
    for item, side in zip(items[:2], shape, strict=False):
        if isinstance(item, slice):
            start, stop, step = item.indices(side)
            if step != 1:
                raise IndexError(f"step {step}: windows have a step of 1")
            edges += [start, max(start, stop)]
            rest.append(slice(None))
        else:
            place = int(item) + (side if item < 0 else 0)
            if not 0 <= place < side:
                raise IndexError(f"{item} in an axis of {side}")
            edges += [place, place + 1]
            rest.append(0)
    return Box(*edges), (*rest, *items[2:])


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


def extremes_of(image: Windowed, side: int = 1024) -> tuple[float, float]:
    """Least and greatest value of all channels, read once by windows."""
    grid = Grid((image.shape[0], image.shape[1]), side)
    dtype = native_dtype(image.dtype)

    def work(tile: int) -> tuple[float, float]:
        pixels = image[grid.box(tile).slices].astype(dtype, copy=False)
        return pixels.min(), pixels.max()

    found = in_threads(work, range(len(grid)))
    return min(low for low, _ in found), max(high for _, high in found)
