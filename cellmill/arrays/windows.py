"""Arrays of any size, read and written by windows; images cut into tiles with halos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

#: Sides of a tile, in the order in which this package names them, and the one each touches.
TOP, BOTTOM, LEFT, RIGHT = range(4)
OPPOSITE = (BOTTOM, TOP, RIGHT, LEFT)


class Windowed(Protocol):
    """An array of which any part can be read: numpy's, an `.npz` member, a Zarr array, a view.

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


AnyWindowed = TypeVar("AnyWindowed", bound=Windowed)


def is_intact(array: Windowed, window: Any) -> bool:
    """Whether what was written to a window is still there; of arrays that keep no records it is.

    Args:
        array: one of a store, or any other.
        window: slices and integers, from the first axis on.
    """
    check = getattr(array, "is_intact", None)
    return check is None or bool(check(window))


@dataclass(frozen=True)
class Plane:
    """One channel of a windowed array `(…, C)`, windowed itself, without the axis of channels."""

    source: Windowed
    channel: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the axes that are left: Y, X or Z, Y, X."""
        return self.source.shape[:-1]

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return self.source.dtype

    def __getitem__(self, window: object, /) -> np.ndarray:
        """Read a window."""
        parts = window if isinstance(window, tuple) else (window,)
        shown = (*parts, *(slice(None),) * (len(self.shape) - len(parts)), self.channel)
        return self.source[shown]


@dataclass(frozen=True)
class Section:
    """One plane of a volume `(Z, Y, X, …)`, windowed itself, without the axis Z.

    Args:
        source: the volume.
        z: the place of the plane.
    """

    source: Windowed
    z: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the axes that are left: Y, X, …."""
        return self.source.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return self.source.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        return self.source[self._within(window)]

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window, where the volume can be written."""
        target: Any = self.source
        target[self._within(window)] = values

    def is_intact(self, window: Any) -> bool:
        """Whether what was written to a window is still there; see `is_intact`."""
        return is_intact(self.source, self._within(window))

    def _within(self, window: Any) -> tuple[Any, ...]:
        return (self.z, *(window if isinstance(window, tuple) else (window,)))


def sections_of(array: AnyWindowed, axes: int = 2) -> list[AnyWindowed]:
    """The planes of a volume; an image is its only one.

    Args:
        array: `(Y, X)` or `(Z, Y, X)`; with channels behind where a plane has three axes.
        axes: of a plane, two or three.
    """
    if len(array.shape) == axes:
        return [array]
    sections: list[Any] = [Section(array, z) for z in range(array.shape[0])]
    return sections


@dataclass(frozen=True)
class Channels:
    """Some channels `start ≤ c < stop` of a windowed array `(…, C)`, windowed itself."""

    source: Windowed
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Y, X or Z, Y, X, and the channels that are shown."""
        return (*self.source.shape[:-1], self.stop - self.start)

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return self.source.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        parts: tuple[Any, ...] = window if isinstance(window, tuple) else (window,)
        others = [*parts, *[slice(None)] * (len(self.shape) - len(parts))]
        last = others.pop()
        count = self.stop - self.start
        if isinstance(last, slice):
            first, end, step = last.indices(count)
            if step != 1:
                raise IndexError(f"step {step}: windows have a step of 1")
            last = slice(self.start + first, self.start + max(first, end))
        else:
            last = self.start + range(count)[last]
        shown = (*others, last)
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

    def holds(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Which pixels, by their rows and columns, lie in it; bool of their shape."""
        inside: np.ndarray = (y >= self.y0) & (y < self.y1) & (x >= self.x0) & (x < self.x1)
        return inside

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

    def tiles_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The tiles that have pixels, by their rows and columns; integers of their shape."""
        found: np.ndarray = y // self.side * self.counts[1] + x // self.side
        return found

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


def copy_parts(source: Windowed, parts: Iterable[Box], target: WritableWindowed, side: int) -> None:
    """Copy parts of an array `(Y, X, …)` into another of its shape, so that few pixels are held.

    Args:
        source: what is read.
        parts: which parts of it.
        target: where they go.
        side: of what is copied at once, pixels; whole storage units are written where parts begin
            at such.
    """
    for part in parts:
        grid = Grid(part.shape, side)
        for tile in range(len(grid)):
            box = grid.box(tile).moved(part.y0, part.x0)
            target[box.slices] = source[box.slices]
