"""What tiles leave open is decided, and objects are numbered and drawn: of images and volumes.

Of each tile those candidates are left that are kept or still open. Tiles go over their own, with
what is known of the others', until none is open: the open one of highest rank can always be
decided, and each has one fate, that of the whole image.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.segmentation.stardist.candidates import rank
from cellmill.segmentation.stardist.reaches import as_limits, reach, union
from cellmill.segmentation.stardist.suppression import DROPPED, KEPT, OPEN

#: Bytes of tiles' candidates that are kept in memory once they are read.
_KEPT_BYTES = 64 << 20


class Ranked(Protocol):
    """Candidates by rank: of an image or a volume."""

    @property
    def score(self) -> np.ndarray:
        """`(N,)` float32, probabilities."""
        ...

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """`(N,)` each: y, x or z, y, x of the centres in pixels."""
        ...

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        ...

    def __getitem__(self, chosen: np.ndarray, /) -> Any:
        """Some of them."""
        ...


Every = TypeVar("Every", bound=Ranked)
EveryGiven = TypeVar("EveryGiven", bound=Ranked, covariant=True)
Read = TypeVar("Read")


class Left(Protocol[EveryGiven]):
    """A tile's own candidates that are kept or open."""

    @property
    def candidates(self) -> EveryGiven:
        """By rank."""
        ...

    @property
    def fates(self) -> np.ndarray:
        """`(N,)` uint8, kept or open."""
        ...

    @property
    def boxes(self) -> np.ndarray:
        """`(N, 4)` or `(N, 6)`; see `cellmill.segmentation.stardist.reaches`."""
        ...


class Settling(Generic[Every]):
    """What is known of all tiles while their candidates are decided on.

    Args:
        read: gives what is left of a tile.
        tiles: how many there are.
        decide: gives the fates of candidates of several tiles laid end to end: from their parts,
            what is known of their fates, and which of them are not to be changed.
    """

    def __init__(
        self,
        read: Callable[[int], Left[Every]],
        tiles: int,
        decide: Callable[[Sequence[Every], np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        self.kept = Cache(read, lambda found: found.candidates.nbytes)
        self._decide = decide
        self._fates: list[np.ndarray] = []
        self._places: list[tuple[np.ndarray, ...]] = []
        reaches: list[np.ndarray] = []
        for tile in range(tiles):
            found = read(tile)
            self._fates.append(found.fates)
            self._places.append((*found.candidates.places, found.candidates.score))
            reaches.append(union(found.boxes))
        self._reaches = np.array(reaches)

    def __len__(self) -> int:
        return len(self._fates)

    def note(self, tile: int, found: Left[Every]) -> None:
        """Reckon with what is left of a tile now."""
        self.kept.drop(tile)
        self._fates[tile] = found.fates
        self._places[tile] = (*found.candidates.places, found.candidates.score)
        self._reaches[tile] = union(found.boxes)

    @property
    def open_count(self) -> int:
        """How many candidates are open."""
        return sum(int(np.count_nonzero(fates == OPEN)) for fates in self._fates)

    def settle(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Decide on what is open, and number the objects.

        Returns:
            What `Settled` takes, and counts for the record.
        """
        still_open, rounds = self.open_count, self.decide()
        found = self.numbered()
        return found, {
            "tiles": len(self),
            "decided_at_seams": still_open,
            "rounds": rounds,
            "objects_kept": int(np.count_nonzero(found["numbers"])),
        }

    def decide(self) -> int:
        """Go over the tiles until no candidate is open; how many times."""
        for rounds in itertools.count():
            left = [tile for tile, fates in enumerate(self._fates) if (fates == OPEN).any()]
            if not left:
                return rounds
            for tile in left:
                self._fates[tile] = self._decided(tile)
        return 0

    def numbered(self) -> dict[str, np.ndarray]:
        """Of all candidates that are left the numbers, by rank; 0 of those that are dropped."""
        kept = [each == KEPT for each in self._fates]
        chosen = [
            [part[mask] for part in all_] for all_, mask in zip(self._places, kept, strict=True)
        ]
        numbers = np.zeros(sum(len(mask) for mask in kept), np.int64)
        if chosen:
            *places, score = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
            order = np.flatnonzero(np.concatenate(kept))[rank(places, score)]
            numbers[order] = np.arange(1, len(order) + 1)
        firsts = np.cumsum([0, *(len(each) for each in self._fates)])
        return {"numbers": numbers, "firsts": firsts, "reaches": self._reaches}

    def reaching(self, limits: np.ndarray, tile: int) -> Iterator[tuple[int, Left[Every]]]:
        """The other tiles that reach a box, and what is left of them."""
        for other in np.flatnonzero(reach(self._reaches, limits)).tolist():
            if other != tile:
                yield other, self.kept[other]

    def _decided(self, tile: int) -> np.ndarray:
        """The fates of a tile's candidates, with what is known of all others now."""
        own, fates = self.kept[tile], self._fates[tile]
        limits = union(own.boxes[fates == OPEN])
        parts, known, mine = [own.candidates], [fates], [fates == OPEN]
        for other, found in self.reaching(limits, tile):
            theirs = self._fates[other]
            near = reach(found.boxes, limits) & (theirs != DROPPED)
            parts.append(found.candidates[near])
            known.append(theirs[near])
            mine.append(np.zeros(int(near.sum()), np.bool_))
        every = self._decide(parts, np.concatenate(known), ~np.concatenate(mine))
        return every[: len(fates)]


class Settled(Generic[Every]):
    """The objects of a settled segmentation.

    Args:
        found: what `Settling.numbered` gave.
        read: gives what is left of a tile.
    """

    def __init__(self, found: dict[str, np.ndarray], read: Callable[[int], Left[Every]]) -> None:
        self._found, self._read = found, read

    def objects(self, tile: int) -> tuple[Every, np.ndarray]:
        """The objects of a tile and their numbers.

        Raises:
            BadInput: what was kept of it is lost, or is no longer what was settled.
        """
        first, last = self._found["firsts"][tile : tile + 2]
        numbers = self._found["numbers"][first:last]
        left = self._read(tile)
        if len(left.fates) != len(numbers):
            raise BadInput(
                "segmentation", expected="tiles as they were settled", found="a tile made again"
            )
        return left.candidates[numbers > 0], numbers[numbers > 0]

    def reaching(self, box: Box) -> list[int]:
        """The tiles of which an object reaches a box."""
        found: list[int] = np.flatnonzero(reach(self._found["reaches"], as_limits(box))).tolist()
        return found


class Drawn(Generic[Every]):
    """The label image of a settled segmentation, drawn as it is read.

    Args:
        shape: `(Y, X)` or `(Z, Y, X)`.
        settled: the objects.
        draw: draws objects of several tiles laid end to end, with their numbers, on a window.
    """

    dtype = np.dtype(np.int64)

    def __init__(
        self,
        shape: tuple[int, ...],
        settled: Settled[Every],
        draw: Callable[[Sequence[Every], np.ndarray, np.ndarray, Box], None],
    ) -> None:
        self.shape, self._settled, self._draw = shape, settled, draw
        self._kept = Cache(settled.objects, lambda found: found[0].nbytes)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape, len(self.shape))
        out = np.zeros(box.shape, np.int64)
        if out.size:
            found = [self._kept[tile] for tile in self._settled.reaching(box)]
            numbers = np.concatenate([np.zeros(0, np.int64), *(each for _, each in found)])
            self._draw([objects for objects, _ in found], numbers, out, box)
        return out[rest]


class Cache(Generic[Read]):
    """What was read of tiles lately, within a budget.

    Args:
        read: reads a tile.
        size: bytes that it takes.
    """

    def __init__(self, read: Callable[[int], Read], size: Callable[[Read], int]) -> None:
        self._read, self._size = read, size
        self._kept: OrderedDict[int, Read] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getitem__(self, tile: int) -> Read:
        with self._lock:
            if tile in self._kept:
                self._kept.move_to_end(tile)
                return self._kept[tile]
        found = self._read(tile)
        with self._lock:
            if tile not in self._kept:
                self._kept[tile] = found
                self._bytes += self._size(found)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return found

    def drop(self, tile: int) -> None:
        """Forget a tile."""
        with self._lock:
            if tile in self._kept:
                self._bytes -= self._size(self._kept.pop(tile))
