"""Where the walks of a tile ended, and whose pixels they are, as small tables between tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellmill.arrays.indexing import coordinates, places_at, places_in
from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid
from cellmill.segmentation.cellpose.seeds import GROWN, REACH, find_seeds, grow

#: What stands for the end of a walk that left its window, and where there is none.
LEFT, NONE = -2, -1


@dataclass(frozen=True)
class Ends:
    """The pixels in which walks of a tile ended.

    Attributes:
        places: in the image or volume laid flat, int64, ascending.
        counts: how many walks ended there, int32.
        tries: how many more windows than one they were followed in.
    """

    places: np.ndarray
    counts: np.ndarray
    tries: int

    @classmethod
    def of(cls, ends: np.ndarray, tries: int) -> Ends:
        """From the ends of all walks; below 0 is none."""
        places, counts = np.unique(ends[ends >= 0], return_counts=True)
        return cls(places, counts.astype(np.int32), tries)

    @classmethod
    def from_bytes(cls, payload: bytes) -> Ends:
        """What `to_bytes` gave."""
        found = unpacked(payload)
        return cls(found["places"], found["counts"], int(found["tries"]))

    def to_bytes(self) -> bytes:
        """As a mark keeps it."""
        return packed(places=self.places, counts=self.counts, tries=np.array(self.tries))

    def tiles(self, grid: Grid) -> list[int]:
        """The tiles that have any of these pixels."""
        return tiles_with(self.places, grid)

    def add_to(self, counts: np.ndarray, window: Box, shape: tuple[int, ...]) -> None:
        """Add up the counts in a window of an image of a shape."""
        inside, places = _within(self.places, window, shape)
        counts.reshape(-1)[places] += self.counts[inside]


@dataclass(frozen=True)
class Owners:
    """The pixels of a tile that belong to seeds.

    Attributes:
        places: in the tile laid flat, int64.
        ids: of the seeds: 1 more than their place in the image, int64.
    """

    #: How far around a tile the counts must be known.
    REACH: ClassVar[int] = REACH

    places: np.ndarray
    ids: np.ndarray

    @classmethod
    def from_bytes(cls, payload: bytes) -> Owners:
        """What `to_bytes` gave."""
        found = unpacked(payload)
        return cls(found["places"], found["ids"])

    def to_bytes(self) -> bytes:
        """As a mark keeps it."""
        return packed(places=self.places, ids=self.ids)

    def assign(self, ends: np.ndarray, ids: np.ndarray, box: Box, shape: tuple[int, ...]) -> None:
        """Write the objects of those walks that ended in this tile.

        Args:
            ends: places in the image.
            ids: of the same shape, written to.
            box: of this tile.
            shape: of the image.
        """
        dense = np.zeros(math.prod(box.shape), np.int64)
        dense[self.places] = self.ids
        inside, places = _within(ends, box, shape)
        ids[inside] = dense[places]


def tiles_with(places: np.ndarray, grid: Grid) -> list[int]:
    """The tiles that have any of some places of the image."""
    found: list[int] = np.unique(grid.tiles_at(*coordinates(places, grid.shape))).tolist()
    return found


def owners_of(counts: np.ndarray, window: Box, box: Box, shape: tuple[int, ...]) -> Owners:
    """Find the seeds in and around a tile, and what of it is theirs.

    Args:
        counts: int32, of the window: the tile and `Owners.REACH` pixels around.
        window: where it lies.
        box: of the tile.
        shape: of the image.
    """
    seeds = find_seeds(counts)
    at = coordinates(seeds, window.shape)
    # Farther out a seed is none for sure, and does not reach the tile.
    near = box.grown(GROWN, shape)
    inside = near.holds(*(along + start for along, start in zip(at, window.origin, strict=True)))
    seeds = seeds[inside]
    ids = places_in(seeds, window, shape) + 1
    owners = grow(counts, seeds, ids)[box.within(window)].reshape(-1)
    places = np.flatnonzero(owners)
    return Owners(places, owners[places])


def _within(places: np.ndarray, box: Box, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which places in an image lie in a box of it, and where in the box laid flat."""
    at = coordinates(places, shape)
    inside = (places >= 0) & box.holds(*at)
    return inside, places_at([along[inside] for along in at], box)
