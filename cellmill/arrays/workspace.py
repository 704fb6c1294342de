"""Where work that is larger than memory keeps its arrays, and the marks of what is done.

A workspace is one piece of work's own: any number of processes open it, each finds the same arrays
under their names, and a run that was killed finds what it had done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Grid, Windowed, WritableWindowed, is_intact
from cellmill.compute.threads import in_threads

#: Of an array with so many.
_AXES = {2: "YX", 3: "YXC", 4: "ZYXC"}


class Marks(Protocol):
    """Where parts of the work are marked as done (`cellmill.arrays.store.Ledger`)."""

    def done(self) -> set[str]:
        """The parts that are marked."""
        ...

    def mark(self, part: str, payload: bytes = b"") -> None:
        """Mark a part, and keep what later work needs of it."""
        ...

    def unmark(self, part: str) -> None:
        """Forget a mark, which need not be there, and what was kept with it."""
        ...

    def payload(self, part: str) -> bytes:
        """What was kept with a mark."""
        ...


class Workspace(Protocol):
    """Arrays and marks of one piece of work."""

    @property
    def marks(self) -> Marks:
        """Of the parts that are done, with small tables that later parts need."""
        ...

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> WritableWindowed:
        """The array of that name, `(Y, X)`, `(Y, X, C)` or `(Z, Y, X, C)`; all zero when new."""
        ...

    def finished(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Windowed:
        """The array of that name, to be read once all of it is written.

        Raises:
            BadInput: a part of it was never written, or is lost.
        """
        ...


def tile_mark(tile: int, what: str = "tile") -> str:
    """What the mark of a tile is called, or of something that is known of one."""
    return f"{what}-{tile:06}"


def unfinished_tiles(
    tiles: Iterable[int],
    grid: Grid,
    array: WritableWindowed,
    marks: Marks,
    name: Callable[[int], str],
    threads: int | None = None,
) -> list[int]:
    """Those of some tiles that are not marked as done, or of which what was written is lost.

    Args:
        tiles: their numbers.
        grid: of the tiles.
        array: to which each tile is written, whole.
        marks: of the work.
        name: gives the mark of a tile.
        threads: how many are asked for at once.
    """
    tiles, done = list(tiles), marks.done()

    def is_finished(tile: int) -> bool:
        return name(tile) in done and is_intact(array, grid.box(tile).slices)

    finished = in_threads(is_finished, tiles, threads)
    return [tile for tile, there in zip(tiles, finished, strict=True) if not there]


class MemoryMarks:
    """Marks that last as long as the process."""

    def __init__(self) -> None:
        self._marks: dict[str, bytes] = {}

    def done(self) -> set[str]:
        """The parts that are marked."""
        return set(self._marks)

    def mark(self, part: str, payload: bytes = b"") -> None:
        """Mark a part, and keep what later work needs of it."""
        self._marks[part] = payload

    def unmark(self, part: str) -> None:
        """Forget a mark, which need not be there, and what was kept with it."""
        self._marks.pop(part, None)

    def payload(self, part: str) -> bytes:
        """What was kept with a mark."""
        return self._marks[part]


class MemoryWorkspace:
    """A workspace that lasts as long as the process."""

    def __init__(self) -> None:
        self.marks = MemoryMarks()
        self._arrays: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """The array of that name; all zero when it is new."""
        if name not in self._arrays:
            self._arrays[name] = np.zeros(shape, dtype)
        return self._arrays[name]

    def finished(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """The array of that name."""
        return self.array(name, shape, dtype)


class StoredWorkspace:
    """A workspace in a folder or a bucket, which any number of processes may open.

    Args:
        place: path or URI under which everything lies.
        work: what the results depend on (see `cellmill.arrays.resume`): what other work left there
            does not count. Empty: nothing that lies there counts.
        side: of the arrays' storage units in pixels; threads and processes that write side by side
            write whole units.
        create: make arrays that are not there, in place of what other work left; the processes of
            one piece of work that come later open what the first one made.
    """

    def __init__(self, place: str, work: str, *, side: int, create: bool = True) -> None:
        from cellmill.arrays.store import Ledger

        self.place, self._side, self._create = place, side, create
        self._work = work or uuid.uuid4().hex
        self.marks = Ledger(f"{place}/marks", self._work)
        if create:
            self.marks.claim()
        self._arrays: dict[str, WritableWindowed] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> WritableWindowed:
        """The array of that name; all zero when it is new.

        Raises:
            BadInput: it cannot be made, or is not there.
        """
        from cellmill.arrays.zarr import create_zarr, open_zarr

        if name in self._arrays:
            return self._arrays[name]
        axes = _AXES[len(shape)]
        store = f"{self.place}/{name}.zarr"
        if self._create:
            layout = {name: (shape, np.dtype(dtype), axes)}
            made: Mapping[str, WritableWindowed] = create_zarr(
                store, layout, shard=self._side, work=self._work, cubes="Z" in axes
            )
            self._arrays[name] = made[name]
        else:
            self._arrays[name] = open_zarr(f"{store}/{name}/0", axes, write=True)
        return self._arrays[name]

    def finished(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Windowed:
        """The array of that name, to be read once all of it is written.

        Raises:
            BadInput: a part of it was never written, or is lost.
        """
        from cellmill.arrays.zarr import open_zarr

        return open_zarr(f"{self.place}/{name}.zarr/{name}/0", _AXES[len(shape)])

    def remove(self) -> None:
        """Remove everything that lies there."""
        from cellmill.arrays.store import remove

        remove(self.place)
