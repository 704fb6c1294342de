"""StarDist's post-processing of images of any size, tile by tile, with the objects of the untiled.

1. Each tile's candidates are found with those of a halo around it, and decided on as far as it can
   be done without the other tiles: nearly all are dropped, and nearly all that are left are kept.
2. Those that are open depend on candidates of other tiles. Tiles go over their own, with what is
   known of the others', until none is open: the open one of highest rank can always be decided, and
   each has one fate, that of the whole image.
3. Objects are drawn when labels are read.

A tile reckons with polygons of its neighbours as long as its own longest. If one from beyond
reaches farther, the tile is decided on anew with it. What is kept in memory is a few tiles'
candidates and, of each object, its number and a few bytes.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from cellmill.arrays.indexing import box_of
from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.arrays.workspace import Workspace, tile_mark
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import Candidates, joined, rank, ray_count
from cellmill.segmentation.stardist.drawing import draw
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.suppression import DROPPED, KEPT, OPEN, suppress
from cellmill.segmentation.stardist.tile_survivors import (
    Survivors,
    as_limits,
    find_survivors,
    found_again,
    reach,
    union,
    with_fates,
)

Read = TypeVar("Read")

_SETTLED = "settled"
#: Bytes of tiles' candidates that are kept in memory once they are read.
_KEPT_BYTES = 64 << 20


class TiledStarDist:
    """StarDist's post-processing of one image, in the steps of `cellmill.segmentation.interface`.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        grid: the tiles; no result depends on them.
        workspace: where what is left of tiles is kept.
    """

    def __init__(
        self, maps: Maps, parameters: StarDistParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._marks = workspace.marks
        self._rays = ray_count(maps) if len(grid) else 0

    def prepare(self, threads: int | None = None) -> None:
        """Nothing depends on the whole image."""

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Decide on tiles' candidates as far as it can be done without the other tiles."""
        done = self._marks.done()

        def one(tile: int) -> None:
            found = find_survivors(self._maps, self._parameters, self._grid.box(tile))
            self._marks.mark(tile_mark(tile), found.to_bytes())

        in_threads(one, [tile for tile in tiles if tile_mark(tile) not in done], threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Decide on what is open, and number the objects."""
        settling = _Settling(self, threads)
        again = settling.reckon_with_all()
        still_open = settling.open_count
        rounds = settling.decide()
        found = settling.numbered()
        self._marks.mark(_SETTLED, packed(**found))
        self.__dict__.pop("_settled", None)
        return {
            "tiles": len(self._grid),
            "decided_at_seams": still_open,
            "rounds": rounds,
            "tiles_again": again,
            "objects_kept": int(np.count_nonzero(found["numbers"])),
        }

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects, drawn where they are read."""
        return _Drawn(self)

    def survivors(self, tile: int) -> Survivors:
        """What is left of a tile.

        Raises:
            BadInput: it was not worked on, or what was kept of it is lost.
        """
        return Survivors.from_bytes(self._marks.payload(tile_mark(tile)))

    def find_again(self, tile: int, before: Survivors, more: np.ndarray) -> Survivors:
        """Decide on a tile anew, with further polygons from beyond reckoned with."""
        box = self._grid.box(tile)
        found = found_again(self._maps, self._parameters, box, before, more)
        self._marks.mark(tile_mark(tile), found.to_bytes())
        return found

    def decided(self, tile: int) -> tuple[Candidates, np.ndarray]:
        """The objects of a tile and their numbers.

        Raises:
            BadInput: the image is not settled, or what was kept is lost.
        """
        first, last = self._settled["firsts"][tile : tile + 2]
        numbers = self._settled["numbers"][first:last]
        left = self.survivors(tile).candidates
        if len(left) != len(numbers):
            raise BadInput(
                "segmentation", expected="tiles as they were settled", found="a tile made again"
            )
        return left[numbers > 0], numbers[numbers > 0]

    def reaching(self, box: Box) -> np.ndarray:
        """The tiles of which an object reaches a box."""
        return np.flatnonzero(reach(self._settled["reaches"], as_limits(box)))

    @functools.cached_property
    def _settled(self) -> dict[str, np.ndarray]:
        return unpacked(self._marks.payload(_SETTLED))


class _Settling:
    """What is known of all tiles while their candidates are decided on."""

    def __init__(self, segmentation: TiledStarDist, threads: int | None) -> None:
        self._of, self._threads = segmentation, threads
        self._cache = _Cache(segmentation.survivors, lambda found: found.candidates.nbytes)
        self._tiles = range(len(segmentation._grid))
        self._fates: list[np.ndarray] = []
        self._places: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._reaches = np.zeros((len(self._tiles), 4), np.int64)
        for tile in self._tiles:
            self._fates.append(np.zeros(0, np.uint8))
            self._places.append((np.zeros(0, np.int64),) * 2 + (np.zeros(0, np.float32),))
            self._note(tile, segmentation.survivors(tile))

    @property
    def open_count(self) -> int:
        """How many candidates are open."""
        return sum(int(np.count_nonzero(fates == OPEN)) for fates in self._fates)

    def reckon_with_all(self) -> int:
        """Find tiles that a farther polygon reaches than they reckoned with, and make them again.

        Returns:
            How many times a tile was made again.
        """
        again = 0
        while wrong := {t: more for t in self._tiles if len(more := self._unreckoned(t))}:
            made = in_threads(self._made_again, wrong.items(), self._threads)
            for tile, found in zip(wrong, made, strict=True):
                self._cache.drop(tile)
                self._note(tile, found)
            again += len(wrong)
        return again

    def decide(self) -> int:
        """Go over the tiles until no candidate is open; how many times."""
        for rounds in itertools.count():
            left = [tile for tile in self._tiles if (self._fates[tile] == OPEN).any()]
            if not left:
                return rounds
            for tile in left:
                self._fates[tile] = self._decided(tile)
        return 0

    def numbered(self) -> dict[str, np.ndarray]:
        """Of all candidates that are left the numbers, by rank; 0 of those that are dropped."""
        kept = [each == KEPT for each in self._fates]
        places = [
            [part[mask] for part in all_] for all_, mask in zip(self._places, kept, strict=True)
        ]
        y, x, score = (np.concatenate(parts) for parts in zip(*places, strict=True))
        numbers = np.zeros(sum(len(mask) for mask in kept), np.int64)
        order = np.flatnonzero(np.concatenate(kept))[rank(y, x, score)]
        numbers[order] = np.arange(1, len(order) + 1)
        firsts = np.cumsum([0, *(len(each) for each in self._fates)])
        return {"numbers": numbers, "firsts": firsts, "reaches": self._reaches}

    def _made_again(self, wrong: tuple[int, np.ndarray]) -> Survivors:
        tile, more = wrong
        return self._of.find_again(tile, self._cache[tile], more)

    def _note(self, tile: int, found: Survivors) -> None:
        self._fates[tile] = found.fates
        every = found.candidates
        self._places[tile] = every.y, every.x, every.score
        self._reaches[tile] = union(found.boxes)

    def _unreckoned(self, tile: int) -> np.ndarray:
        own = self._cache[tile]
        found = [
            own.unreckoned(other.candidates, other.boxes)
            for other in self._reaching(as_limits(own.sure), tile)
        ]
        return np.unique(np.concatenate([np.zeros((0, 4), np.int32), *found]), axis=0)

    def _decided(self, tile: int) -> np.ndarray:
        """The fates of a tile's candidates, with what is known of all others now."""
        own = self._cache[tile]
        fates = self._fates[tile]
        limits = union(own.boxes[fates == OPEN])
        parts, known, mine = [own.candidates], [fates], [fates == OPEN]
        for other in self._reaching(limits, tile):
            near = reach(other.boxes, limits) & (other.fates != DROPPED)
            parts.append(other.candidates[near])
            known.append(other.fates[near])
            mine.append(np.zeros(int(near.sum()), np.bool_))
        every, order = joined(parts, own.candidates.rays.shape[1])
        found = suppress(
            every,
            self._of._parameters.nms_threshold,
            fates=np.concatenate(known)[order],
            decided=~np.concatenate(mine)[order],
        )
        back = np.empty_like(found)
        back[order] = found
        return back[: len(fates)]

    def _reaching(self, limits: np.ndarray, tile: int) -> Iterator[Survivors]:
        """What is left of the other tiles that reach a box, with what is known of it now."""
        for other in np.flatnonzero(reach(self._reaches, limits)):
            if other != tile:
                yield with_fates(self._cache[int(other)], self._fates[other])


class _Cache(Generic[Read]):
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


class _Drawn:
    """The label image of a settled segmentation, drawn as it is read."""

    dtype = np.dtype(np.int64)

    def __init__(self, segmentation: TiledStarDist) -> None:
        self._of = segmentation
        self.shape: tuple[int, ...] = segmentation._grid.shape
        self._cache = _Cache(segmentation.decided, lambda found: found[0].nbytes)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        out = np.zeros(box.shape, np.int64)
        if out.size:
            tiles = [self._cache[int(tile)] for tile in self._of.reaching(box)]
            every, order = joined((objects for objects, _ in tiles), self._of._rays)
            numbers = np.concatenate([np.zeros(0, np.int64), *(each for _, each in tiles)])
            draw(every, numbers[order], out, box)
        return out[rest]
