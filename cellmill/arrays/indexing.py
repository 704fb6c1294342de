"""Indices of arrays: what a window asks for, and what lies beyond an axis's ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.arrays.windows import Box, Windowed

OUTSIDE = -1
"""In place of an index: what is asked for lies beyond the end."""


def round_up(size: int, step: int) -> int:
    """Round a size up to a multiple of a step.

    Example:
        >>> round_up(5, 4), round_up(8, 4)
        (8, 8)
    """
    return -(-size // step) * step


def box_of(window: Any, shape: Sequence[int], axes: int = 2) -> tuple[Box, tuple[Any, ...]]:
    """Read an index of a `(Y, X, …)` array as a box and what is left to take from its pixels.

    Args:
        window: slices of step 1, integers or `...`, from the first axis on.
        shape: of the array.
        axes: of the box: 2, or 3 of a volume `(Z, Y, X, …)`.

    Returns:
        The box, never empty along an axis that an integer picks, and the index to apply to the
        box's pixels: integers drop their axis.
    """
    items = window if isinstance(window, tuple) else (window,)
    if Ellipsis in items:
        at = items.index(Ellipsis)
        fill = (slice(None),) * (len(shape) - len(items) + 1)
        items = (*items[:at], *fill, *items[at + 1 :])
    items = (*items, *(slice(None),) * (axes - len(items)))
    edges: list[tuple[int, int]] = []
    rest: list[Any] = []
    for item, side in zip(items[:axes], shape, strict=False):
        if isinstance(item, slice):
            start, stop, step = item.indices(side)
            if step != 1:
                raise IndexError(f"step {step}: windows have a step of 1")
            edges.append((start, max(start, stop)))
            rest.append(slice(None))
        else:
            place = int(item) + (side if item < 0 else 0)
            if not 0 <= place < side:
                raise IndexError(f"{item} in an axis of {side}")
            edges.append((place, place + 1))
            rest.append(0)
    return Box.of(edges), (*rest, *items[axes:])


def coordinates(places: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Give where places in an image laid flat lie along each of its axes.

    Args:
        places: integers; of those below 0 the first coordinate is below 0.
        shape: of the image.
    """
    found: list[np.ndarray] = []
    for side in shape[:0:-1]:
        places, along = np.divmod(places, side)
        found.append(along)
    return (places, *found[::-1])


def places_at(coordinates: Sequence[np.ndarray], box: Box) -> np.ndarray:
    """Give the places, in a box laid flat, of pixels of the image that lie in it.

    Args:
        coordinates: integers, those along each axis of the image.
        box: which of the image's pixels it has.
    """
    along, *others = coordinates
    (start, *starts), (_, *sides) = box.origin, box.shape
    found = along - start
    for along, start, side in zip(others, starts, sides, strict=True):
        found = found * side + along - start
    return found


def places_in(places: np.ndarray, box: Box, shape: Sequence[int]) -> np.ndarray:
    """Give the places of a box's pixels in the image laid flat from those in the box laid flat.

    Args:
        places: int64.
        box: of pixels of the image.
        shape: of the image.
    """
    found = np.zeros_like(places)
    for along, start, length in zip(
        np.unravel_index(places, box.shape), box.origin, shape, strict=True
    ):
        found = found * length + along + start
    return found


def indices_in(places: np.ndarray, box: Box, shape: Sequence[int]) -> np.ndarray:
    """Find those of ascending places that lie in a box: their indices, ascending, int64.

    Args:
        places: in the image laid flat, int64.
        box: of pixels of the image.
        shape: of the image.
    """
    # Rows of the box are stretches of the image laid flat.
    rows = np.zeros(1, np.int64)
    for (start, stop), length in zip(box.edges[:-1], shape, strict=False):
        rows = (rows[:, np.newaxis] * length + np.arange(start, stop)).reshape(-1)
    (left, right), wide = box.edges[-1], shape[-1]
    first = np.searchsorted(places, rows * wide + left)
    counts = np.searchsorted(places, rows * wide + right) - first
    found: np.ndarray = np.arange(counts.sum())
    found += np.repeat(first - np.cumsum(counts) + counts, counts)
    return found


class Part:
    """A box of an image `(Y, X, …)`, windowed itself.

    Args:
        image: of which it is.
        box: within the image.
    """

    def __init__(self, image: Windowed, box: Box) -> None:
        self._image, self._box = image, box
        self.shape = (*box.shape, *image.shape[2:])
        self.dtype = image.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        return np.asarray(self._image[box.moved(self._box.y0, self._box.x0).slices])[rest]


def reflected(places: np.ndarray, size: int) -> np.ndarray:
    """The pixels behind places along an axis that goes on mirrored: d c b, a b c d, c b a.

    Args:
        places: integers, however far beyond the ends 0 and `size`.
        size: of the axis; the outermost pixels are not repeated.
    """
    period = max(2 * (size - 1), 1)
    folded = np.abs(places) % period
    return np.minimum(folded, period - folded)
