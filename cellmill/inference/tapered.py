"""Tiles along an axis as Cellpose lays them, and its taper that averages them.

Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation" (Nature Methods 18,
2021), as its package computes it (3.1 and 4): the image lies in the middle of zeros, at least 8
pixels on each side; tiles are spread evenly from end to end; each pixel is the mean of the tiles
that have it, weighted by a logistic taper towards a tile's edges.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cellmill.arrays.indexing import OUTSIDE
from cellmill.models.card import Placement

STEP = 16
"""Sides of the padded image, and so of a tile that is fitted to it, are multiples of this."""

_RIM = STEP // 2
_TAPER_SIDE, _TAPER_RIM, _TAPER_WIDTH = 224, 20, 7.5
"""Of the taper: the least side that it is computed for, where it is half, and how steep."""


@dataclass(frozen=True)
class TaperedAxis:
    """The tiles along one axis of an image; positions are pixels of the padded axis.

    Args:
        size: pixels of the image along the axis.
        tile: side of a tile.
        starts: where each begins.
        before: zeros in front of the image's first pixel.
        largest: side of the tiles of a large image, for which the taper is computed.
    """

    size: int
    tile: int
    starts: tuple[int, ...]
    before: int
    largest: int

    @classmethod
    def over(cls, size: int, tile: int, overlap: float, fitted: bool) -> TaperedAxis:
        """Lay tiles over `size` pixels.

        Args:
            size: pixels of the image.
            tile: side of a tile, a multiple of `STEP`.
            overlap: part of a tile's side that is shared with each neighbour, about.
            fitted: an image that is smaller has a smaller tile; else it is padded to a whole one.
        """
        short = max(0, tile - size - 2 * _RIM)
        added = -size % STEP if fitted or size >= tile else short
        padded = size + added + 2 * _RIM
        side = min(tile, padded)
        count = 1 if padded <= tile else math.ceil((1 + 2 * overlap) * padded / tile)
        starts = np.linspace(0, padded - side, count).astype(int)
        return cls(size, side, tuple(starts.tolist()), _RIM + added // 2, tile)

    def strided(self, stride: int) -> TaperedAxis:
        """The same tiles along the axis of a head, which has a value for each pixel."""
        if stride != 1:
            raise ValueError("a head of tapered tiles has a value for each pixel")
        return self

    @property
    def count(self) -> int:
        """How many tiles there are along the axis."""
        return len(self.starts)

    def start(self, index: int) -> int:
        """Where tile `index` begins."""
        return self.starts[index]

    def advance(self, index: int) -> int:
        """Pixels of tile `index` in front of the next one; of the last one all."""
        if index == self.count - 1:
            return self.tile
        return self.starts[index + 1] - self.starts[index]

    def source(self, index: int) -> np.ndarray:
        """The image's pixel behind each pixel of tile `index`, `OUTSIDE` where there is none.

        Returns:
            `(tile,)` int64.
        """
        position = np.arange(self.tile, dtype=np.int64) + (self.start(index) - self.before)
        return np.where((position >= 0) & (position < self.size), position, OUTSIDE)

    def reaching(self, start: int, stop: int) -> range:
        """The tiles that have pixels of the image from `start` to `stop`."""
        first = bisect.bisect_right(self.starts, start + self.before - self.tile)
        return range(first, bisect.bisect_left(self.starts, stop + self.before))

    def overwrites(self, placement: Placement) -> bool:
        """Whether a tile overwrites the one before; never, they are averaged."""
        return False

    def weights(self, index: int, placement: Placement) -> np.ndarray:
        """The weights of the pixels of tile `index`, whatever the placement.

        Returns:
            `(tile,)` float64, which with those of the other tiles add up to 1 at each pixel.
        """
        return _weights(self)[index]


@lru_cache(maxsize=16)
def _weights(axis: TaperedAxis) -> tuple[np.ndarray, ...]:
    own = taper(axis.tile, axis.largest)
    total = np.zeros(axis.starts[-1] + axis.tile)
    for start in axis.starts:
        total[start : start + axis.tile] += own
    return tuple(own / total[start : start + axis.tile] for start in axis.starts)


def taper(side: int, largest: int) -> np.ndarray:
    """The weights of a tile's pixels along one axis, before they are made to add up.

    Args:
        side: pixels of the tile.
        largest: of the tiles of a large image.

    Returns:
        `(side,)` float64, symmetric.
    """
    full = max(_TAPER_SIDE, largest)
    distance = np.abs(np.arange(full) - (full - 1) / 2)
    whole = 1 / (1 + np.exp((distance - (full / 2 - _TAPER_RIM)) / _TAPER_WIDTH))
    first = full // 2 - side // 2
    return np.asarray(whole[first : first + side])
