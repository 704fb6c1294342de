"""Arrays of any size, read and written by windows; images cut into tiles with halos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

#: Sides of a tile, in the order in which this package names them, and the one each touches.
TOP, BOTTOM, LEFT, RIGHT = range(4)
OPPOSITE = (BOTTOM, TOP, RIGHT, LEFT)


class Windowed(Protocol):
    """An array of which any part can be read: numpy's, an ``.npz`` member, a Zarr array, a view.

    What is held in memory is what was asked for. Reading is safe from several threads.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        ...

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window: slices of step 1 and integers, from the first axis on."""
        ...


class WritableWindowed(Windowed, Protocol):
    """A windowed array that can be written too."""

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window; threads may write side by side where no storage unit is shared."""
        ...


@dataclass(frozen=True)
class Plane:
    """One channel of a windowed array `(Y, X, C)`, windowed itself, `(Y, X)`."""

    source: Windowed
    channel: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Y, X."""
        return self.source.shape[:2]

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return self.source.dtype

    def __getitem__(self, window: object, /) -> np.ndarray:
        """Read a window."""
        parts = window if isinstance(window, tuple) else (window,)
        shown = (*parts, *(slice(None),) * (2 - len(parts)), self.channel)
        return self.source[shown]


@dataclass(frozen=True)
class Box:
    """Pixels `y0 ≤ y < y1`, `x0 ≤ x < x1`."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """As an index of a `(Y, X)` array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, margin: int | tuple[int, ...], shape: tuple[int, int]) -> Box:
        """Widen by a margin (high, wide) on each side, as far as an image of this shape goes."""
        high, wide = margin if isinstance(margin, tuple) else (margin, margin)
        return Box(
            max(self.y0 - high, 0),
            min(self.y1 + high, shape[0]),
            max(self.x0 - wide, 0),
            min(self.x1 + wide, shape[1]),
        )

    def moved(self, down: int, right: int) -> Box:
        """The same box elsewhere."""
        return Box(self.y0 + down, self.y1 + down, self.x0 + right, self.x1 + right)

    def within(self, outer: Box) -> tuple[slice, slice]:
        """As an index of an array that shows `outer`."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def common(self, other: Box) -> Box | None:
        """What two boxes share."""
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        return Box(y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None

    def rim(self, high: int, wide: int) -> list[Box]:
        """The strips along the four sides, so many pixels high or wide; they share the corners."""
        strips = (
            Box(self.y0, min(self.y0 + high, self.y1), self.x0, self.x1),
            Box(max(self.y1 - high, self.y0), self.y1, self.x0, self.x1),
            Box(self.y0, self.y1, self.x0, min(self.x0 + wide, self.x1)),
            Box(self.y0, self.y1, max(self.x1 - wide, self.x0), self.x1),
        )
        return [strip for strip in strips if min(strip.shape) > 0]


@dataclass(frozen=True)
class Grid:
    """Tiles of equal sides, the last of a row or column smaller, numbered in raster order.

    Args:
        shape: `(Y, X)` of the image.
        side: of a tile, pixels.
    """

    shape: tuple[int, int]
    side: int

    @property
    def counts(self) -> tuple[int, int]:
        """How many tiles there are down and across."""
        return -(-self.shape[0] // self.side), -(-self.shape[1] // self.side)

    def __len__(self) -> int:
        return self.counts[0] * self.counts[1]

    def box(self, tile: int) -> Box:
        """The tile's own pixels."""
        row, column = divmod(tile, self.counts[1])
        y, x = row * self.side, column * self.side
        return Box(y, min(y + self.side, self.shape[0]), x, min(x + self.side, self.shape[1]))

    def neighbours(self, tile: int) -> list[tuple[int, int]]:
        """The `(side, tile)` that touch it, as far as they are there."""
        rows, columns = self.counts
        row, column = divmod(tile, columns)
        found = (
            (TOP, row > 0, tile - columns),
            (BOTTOM, row + 1 < rows, tile + columns),
            (LEFT, column > 0, tile - 1),
            (RIGHT, column + 1 < columns, tile + 1),
        )
        return [(side, other) for side, there, other in found if there]

    def overlapping(self, box: Box) -> list[int]:
        """The tiles that have pixels of a box, in raster order."""
        columns = self.counts[1]
        return [
            row * columns + column
            for row in range(box.y0 // self.side, -(-box.y1 // self.side))
            for column in range(box.x0 // self.side, -(-box.x1 // self.side))
        ]
