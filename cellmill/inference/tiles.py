"""The grid of overlapping tiles that covers an image, and the weights that blend them.

The grid and the blending are those of DeepCell's applications (deepcell-toolbox 0.12.1). The spline
window is the squared one of G. Chevalier's "Smoothly blend image patches" (2017), each ramp scaled
to reach 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from cellmill.errors import BadInput

Padding = Literal["constant", "reflect"]
OUTSIDE = -1


@dataclass(frozen=True)
class TileAxis:
    """The tiles along one axis of an image.

    The axis is first extended by reflection to one whole tile if it is shorter (the smaller half
    before), then to a whole number of strides by `padding` (the larger half before). All positions
    are pixels of the extended axis unless said otherwise.

    Args:
        size: pixels of the image along the axis.
        tile: side of a tile.
        stride: from one tile's start to the next one's.
        padding: what the extended axis holds beyond the image: zeros or its reflection.
    """

    size: int
    tile: int
    stride: int
    padding: Padding = "constant"

    @property
    def count(self) -> int:
        """How many tiles there are along the axis."""
        return math.ceil(max(self.size - self.tile, 0) / self.stride) + 1

    @property
    def extended(self) -> int:
        """Length of the extended axis."""
        return self.tile + self.stride * (self.count - 1)

    @property
    def before(self) -> int:
        """Pixels added before the image's first one."""
        leftover = self.extended - self.size
        return leftover // 2 if self.size < self.tile else leftover - leftover // 2

    @property
    def overlap(self) -> int:
        """Pixels that two neighbouring tiles share."""
        return self.tile - self.stride

    def start(self, index: int) -> int:
        """Where tile `index` begins."""
        return index * self.stride

    def source(self, index: int) -> np.ndarray:
        """The image's pixel behind each pixel of tile `index`, `OUTSIDE` where there is none.

        Returns:
            `(tile,)` int64.
        """
        position = np.arange(self.tile, dtype=np.int64) + (self.start(index) - self.before)
        if self.size < self.tile or self.padding == "reflect":
            period = max(2 * (self.size - 1), 1)
            folded = np.abs(position) % period
            return np.minimum(folded, period - folded)
        return np.where((position >= 0) & (position < self.size), position, OUTSIDE)

    def overlaps(self, index: int) -> tuple[int, int, int]:
        """A tile's side and the pixels that tile `index` shares with the one before and after."""
        before = self.overlap if index > 0 else 0
        after = self.overlap if index < self.count - 1 else 0
        return self.tile, before, after


@dataclass(frozen=True)
class TileGrid:
    """The tiles of an image, in raster order.

    Args:
        rows: tiles along y.
        columns: tiles along x.
    """

    rows: TileAxis
    columns: TileAxis

    @classmethod
    def over(
        cls,
        shape: tuple[int, int],
        tile: tuple[int, int] = (256, 256),
        *,
        overlap: float = 0.25,
        padding: Padding = "constant",
    ) -> TileGrid:
        """Lay the grid over an image.

        Args:
            shape: `(Y, X)` of the image.
            tile: `(Y, X)` of a tile.
            overlap: part of a tile's side shared with its neighbour, 0 to 0.5; the stride is
                `tile × (1 − overlap)`, rounded up to an even number of pixels.
            padding: what lies beyond the image's border.

        Raises:
            BadInput: a side or an overlap is out of range.
        """
        if min(*shape, *tile) < 1:
            raise BadInput("tiling", expected="sides of at least 1", found=f"{shape}, tile {tile}")
        if not 0 <= overlap <= 0.5:
            # Beyond one half three tiles would meet, and the weights no longer add up to one.
            raise BadInput("tiling.overlap", expected="0 to 0.5", found=f"{overlap}")
        if padding not in ("constant", "reflect"):
            raise BadInput("tiling.padding", expected="constant or reflect", found=repr(padding))
        axes = [
            TileAxis(size, side, min(math.ceil(side * (1 - overlap) / 2) * 2, side), padding)
            for size, side in zip(shape, tile, strict=True)
        ]
        return cls(*axes)

    def __len__(self) -> int:
        return self.rows.count * self.columns.count

    @property
    def shape(self) -> tuple[int, int]:
        """`(Y, X)` of the image."""
        return self.rows.size, self.columns.size

    @property
    def tile(self) -> tuple[int, int]:
        """`(Y, X)` of a tile."""
        return self.rows.tile, self.columns.tile

    @property
    def blended(self) -> bool:
        """Whether overlapping tiles are added by weight; else the later tile overwrites.

        DeepCell overwrites as soon as the grid is one tile wide on either axis.
        """
        return self.rows.count > 1 and self.columns.count > 1

    def weights(self, row: int, column: int) -> np.ndarray:
        """The blending weights of one tile, the product of its axes' weights.

        Returns:
            `(tile_y, tile_x)` float64, read-only.
        """
        return _product(self.rows.overlaps(row), self.columns.overlaps(column))

    def positions(self) -> Iterator[tuple[int, int]]:
        """Each tile's `(row, column)` in the grid, in raster order."""
        for row in range(self.rows.count):
            for column in range(self.columns.count):
                yield row, column


def spline_window(size: int, before: int, after: int) -> np.ndarray:
    """Weights of a tile's pixels along one axis: 1 inside, a quadratic spline over the overlaps.

    The weights of two overlapping tiles add up to 1 + 1/(2·overlap² − 1), for an even overlap: each
    ramp is scaled to reach 1, as the reference does.

    Args:
        size: pixels of the tile.
        before: pixels shared with the previous tile.
        after: pixels shared with the next tile.

    Returns:
        `(size,)` float64.
    """
    window = np.ones(size)
    if before:
        window[:before] = _ramp(before)
    if after:
        window[size - after :] = _ramp(after)[::-1]
    return window


@lru_cache(maxsize=16)
def _product(rows: tuple[int, int, int], columns: tuple[int, int, int]) -> np.ndarray:
    """The weights of a tile by its axes' overlaps; a grid has at most nine different ones."""
    weights = np.outer(spline_window(*rows), spline_window(*columns))
    weights.flags.writeable = False
    return weights


def _ramp(length: int) -> np.ndarray:
    """The rising half of the window, `(length,)` float64."""
    t = (2 * np.arange(length) + 1) / (2 * length)
    ramp = np.where(t < 0.5, (2 * t) ** 2 / 2, 1 - (2 * (1 - t)) ** 2 / 2)
    return ramp / ramp.max()
