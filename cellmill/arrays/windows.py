"""Arrays of any size, read and written by windows; images cut into tiles with halos."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

#: Sides of a tile of an image. In general side `2 a` is where a box begins along its axis `a`, and
#: side `2 a + 1` where it ends.
TOP, BOTTOM, LEFT, RIGHT = range(4)


def opposite(side: int) -> int:
    """The side that a neighbour at a side touches with."""
    return side ^ 1


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


class _Shown:
    """What is shown of another windowed array, whose windows are read and written there."""

    source: Windowed

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return self.source.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        return self.source[self._within(window)]

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window, where the array can be written."""
        target: Any = self.source
        target[self._within(window)] = values

    def is_intact(self, window: Any) -> bool:
        """Whether what was written to a window is still there; see `is_intact`."""
        return is_intact(self.source, self._within(window))

    def _within(self, window: Any) -> tuple[Any, ...]:
        """A window as one of the other array."""
        raise NotImplementedError


@dataclass(frozen=True)
class Plane(_Shown):
    """One channel of a windowed array `(…, C)`, windowed itself, without the axis of channels.

    Where it is written it is the only channel, or units of a store are shared.
    """

    source: Windowed
    channel: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the axes that are left: Y, X or Z, Y, X."""
        return self.source.shape[:-1]

    def _within(self, window: Any) -> tuple[Any, ...]:
        parts = window if isinstance(window, tuple) else (window,)
        return (*parts, *(slice(None),) * (len(self.shape) - len(parts)), self.channel)


@dataclass(frozen=True)
class Section(_Shown):
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
    """Pixels `y0 ≤ y < y1`, `x0 ≤ x < x1`; of a volume those of planes `z0 ≤ z < z1`.

    Attributes:
        y0: first row.
        y1: behind the last.
        x0: first column.
        x1: behind the last.
        planes: `(z0, z1)`; none of an image.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    planes: tuple[int, int] | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, edges: Sequence[tuple[int, int]]) -> Box:
        """The box that begins and ends there along each axis, `(Y, X)` or `(Z, Y, X)`."""
        (y0, y1), (x0, x1) = edges[-2:]
        return cls(y0, y1, x0, x1, planes=edges[0] if len(edges) == 3 else None)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Where it begins and ends along each axis."""
        flat = ((self.y0, self.y1), (self.x0, self.x1))
        return flat if self.planes is None else (self.planes, *flat)

    @property
    def origin(self) -> tuple[int, ...]:
        """Where it begins along each axis."""
        return tuple(start for start, _ in self.edges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Depth, of a volume; height and width."""
        return tuple(stop - start for start, stop in self.edges)

    @property
    def slices(self) -> tuple[slice, ...]:
        """As an index of a `(Y, X)` or `(Z, Y, X)` array."""
        return tuple(slice(start, stop) for start, stop in self.edges)

    def grown(self, margin: int | tuple[int, ...], shape: Sequence[int]) -> Box:
        """Widen by a margin, of all axes or one each, as far as an image of this shape goes."""
        edges = self.edges
        margins = margin if isinstance(margin, tuple) else (margin,) * len(edges)
        return Box.of(
            [
                (max(start - by, 0), min(stop + by, side))
                for (start, stop), by, side in zip(edges, margins, shape, strict=True)
            ]
        )

    def moved(self, *by: int) -> Box:
        """The same box elsewhere.

        Args:
            *by: how far along its last axes, two of a volume's within its planes.
        """
        steps = (*(0,) * (len(self.edges) - len(by)), *by)
        return Box.of(
            [(a + step, b + step) for (a, b), step in zip(self.edges, steps, strict=True)]
        )

    @property
    def sides(self) -> range:
        """Its sides, two of each axis."""
        return range(2 * len(self.edges))

    def face(self, side: int, *, beyond: bool = False) -> Box:
        """The outermost pixels along a side, or those just beyond it."""
        axis, at_end = divmod(side, 2)
        edges = list(self.edges)
        place = edges[axis][1] - 1 + beyond if at_end else edges[axis][0] - beyond
        edges[axis] = (place, place + 1)
        return Box.of(edges)

    def within(self, outer: Box) -> tuple[slice, ...]:
        """As an index of an array that shows `outer`."""
        return tuple(
            slice(start - first, stop - first)
            for (start, stop), first in zip(self.edges, outer.origin, strict=True)
        )

    def holds(self, *places: np.ndarray) -> np.ndarray:
        """Which pixels lie in it; bool of their shape.

        Args:
            *places: their rows and columns; of a volume their planes first.
        """
        inside: np.ndarray = np.ones(places[0].shape, np.bool_)
        for along, (start, stop) in zip(places, self.edges, strict=True):
            inside &= (along >= start) & (along < stop)
        return inside

    def common(self, other: Box) -> Box | None:
        """What two boxes share."""
        edges = [
            (max(a, c), min(b, d)) for (a, b), (c, d) in zip(self.edges, other.edges, strict=True)
        ]
        return Box.of(edges) if all(start < stop for start, stop in edges) else None

    def rim(self, *widths: int) -> list[Box]:
        """The strips along its sides, two of each axis; they share edges and corners.

        Args:
            *widths: of the strips along each axis, pixels.
        """
        strips = []
        for axis, width in enumerate(widths):
            start, stop = self.edges[axis]
            for part in ((start, min(start + width, stop)), (max(stop - width, start), stop)):
                edges = list(self.edges)
                edges[axis] = part
                strips.append(Box.of(edges))
        return [strip for strip in strips if min(strip.shape) > 0]


@dataclass(frozen=True)
class Grid:
    """Tiles of equal sides, the last along each axis smaller, numbered in raster order.

    Args:
        shape: `(Y, X)` of the image, or `(Z, Y, X)` of the volume.
        side: of a tile, pixels, along each axis.
        depth: planes of a tile of a volume; 0 is as many as `side`.
    """

    shape: tuple[int, ...]
    side: int
    depth: int = 0

    @property
    def sides(self) -> tuple[int, ...]:
        """Of a whole tile along each axis, pixels."""
        deep = (self.depth or self.side,) if len(self.shape) == 3 else ()
        return (*deep, self.side, self.side)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many tiles there are along each axis."""
        return tuple(
            -(-length // side) for length, side in zip(self.shape, self.sides, strict=True)
        )

    def __len__(self) -> int:
        return math.prod(self.counts)

    def box(self, tile: int) -> Box:
        """The tile's own pixels."""
        edges: list[tuple[int, int]] = []
        counts, sides = self.counts[::-1], self.sides[::-1]
        for length, count, side in zip(self.shape[::-1], counts, sides, strict=True):
            tile, place = divmod(tile, count)
            edges.append((place * side, min((place + 1) * side, length)))
        return Box.of(edges[::-1])

    def tiles_at(self, *places: np.ndarray) -> np.ndarray:
        """The tiles that have pixels; integers of their shape.

        Args:
            *places: the pixels' rows and columns; of a volume their planes first.
        """
        found = np.zeros_like(places[0])
        for along, count, side in zip(places, self.counts, self.sides, strict=True):
            found = found * count + along // side
        return found

    def neighbours(self, tile: int) -> list[tuple[int, int]]:
        """The `(side, tile)` that touch it over a side, as far as they are there."""
        found = []
        for axis, count in enumerate(self.counts):
            step = math.prod(self.counts[axis + 1 :])
            place = tile // step % count
            if place > 0:
                found.append((2 * axis, tile - step))
            if place + 1 < count:
                found.append((2 * axis + 1, tile + step))
        return found

    def overlapping(self, box: Box) -> list[int]:
        """The tiles that have pixels of a box, in raster order."""
        found = [0]
        for (start, stop), count, side in zip(box.edges, self.counts, self.sides, strict=True):
            places = range(start // side, -(-stop // side))
            found = [tile * count + place for tile in found for place in places]
        return found


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
