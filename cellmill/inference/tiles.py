"""The grid of overlapping tiles that covers an image, and the weights that put them together.

The grid and the blending are those of DeepCell's applications (deepcell-toolbox 0.12.1). The spline
window is the squared one of G. Chevalier's "Smoothly blend image patches" (2017), each ramp scaled
to reach 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cellmill.arrays.indexing import OUTSIDE, reflected, round_up
from cellmill.errors import BadInput
from cellmill.inference.tapered import TaperedAxis
from cellmill.models.card import Layout, Placement

Padding = Literal["constant", "reflect"]
_LEAST_SIDE = 64
"""Pixels of a tile that is fitted to a small image, which is mirrored so far."""


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
        before: pixels added before the image's first one.
        padding: what the extended axis holds beyond the image: zeros or its reflection.
        margin: pixels that are added at least, before and after.
    """

    size: int
    tile: int
    stride: int
    before: int
    padding: Padding
    margin: int = 0

    @classmethod
    def over(
        cls,
        size: int,
        tile: int,
        overlap: float,
        padding: Padding,
        alignment: int,
        margin: int = 0,
    ) -> TileAxis:
        """Lay tiles over `size` pixels; see `TileGrid.over`."""
        step = math.lcm(2, alignment)
        stride = min(math.ceil(tile * (1 - overlap) / step) * step, tile)
        return cls(size, tile, stride, 0, padding, margin)._centred(alignment)

    @classmethod
    def fitted(
        cls, size: int, tile: int, overlap: float, padding: Padding, alignment: int
    ) -> TileAxis:
        """Lay as many tiles as `tile` asks for, no larger than they need be; see `TileGrid.over`.

        Neighbours share what tiles of the full side would share.
        """
        step = math.lcm(2, alignment)
        shared = math.floor(tile * overlap / step) * step
        count = math.ceil(max(size - shared, 1) / (tile - shared))
        side = round_up(math.ceil((size + (count - 1) * shared) / count), step)
        # No three tiles may meet.
        least = 2 * shared if count > 1 else round_up(_LEAST_SIDE, step)
        side = min(max(side, least), tile)
        stride = side - shared if count > 1 else side
        return cls(size, side, stride, 0, padding)._centred(alignment)

    def _centred(self, alignment: int) -> TileAxis:
        leftover = self.extended - self.size
        before = leftover // 2 if self.size < self.tile else leftover - leftover // 2
        return replace(self, before=before // alignment * alignment)

    def strided(self, stride: int) -> TileAxis:
        """The same tiles along the axis of a head that has one value for so many pixels.

        Args:
            stride: a divisor of the alignment that the tiles were laid with.
        """
        size = math.ceil(self.size / stride)
        tile, step, before = (n // stride for n in (self.tile, self.stride, self.before))
        return TileAxis(size, tile, step, before, self.padding, self.margin // stride)

    @property
    def count(self) -> int:
        """How many tiles there are along the axis."""
        return math.ceil(max(self.size + 2 * self.margin - self.tile, 0) / self.stride) + 1

    @property
    def extended(self) -> int:
        """Length of the extended axis."""
        return self.tile + self.stride * (self.count - 1)

    @property
    def overlap(self) -> int:
        """Pixels that two neighbouring tiles share."""
        return self.tile - self.stride

    def start(self, index: int) -> int:
        """Where tile `index` begins."""
        return index * self.stride

    def advance(self, index: int) -> int:
        """Pixels of tile `index` in front of the next one; of the last one all."""
        return self.tile if index == self.count - 1 else self.stride

    def source(self, index: int) -> np.ndarray:
        """The image's pixel behind each pixel of tile `index`, `OUTSIDE` where there is none.

        Returns:
            `(tile,)` int64.
        """
        position = np.arange(self.tile, dtype=np.int64) + (self.start(index) - self.before)
        if self.size < self.tile or self.padding == "reflect":
            return reflected(position, self.size)
        return np.where((position >= 0) & (position < self.size), position, OUTSIDE)

    def reaching(self, start: int, stop: int) -> range:
        """The tiles that have pixels of the image from `start` to `stop`."""
        first = (start + self.before - self.tile) // self.stride + 1
        last = (stop - 1 + self.before) // self.stride
        return range(max(first, 0), min(last, self.count - 1) + 1)

    def overlaps(self, index: int) -> tuple[int, int, int]:
        """A tile's side and the pixels that tile `index` shares with the one before and after."""
        before = self.overlap if index > 0 else 0
        after = self.overlap if index < self.count - 1 else 0
        return self.tile, before, after

    def overwrites(self, placement: Placement) -> bool:
        """Whether, with one tile along this axis, later tiles overwrite where others share pixels.

        DeepCell blends none as soon as the grid is one tile wide on either axis.
        """
        return placement == "blended" and self.count == 1

    def weights(self, index: int, placement: Placement) -> np.ndarray:
        """The weights of the pixels of tile `index`.

        Returns:
            `(tile,)` float64.
        """
        return _WINDOWS[placement](*self.overlaps(index))


Axis = TileAxis | TaperedAxis


@dataclass(frozen=True)
class TileGrid:
    """The tiles of an image, in raster order.

    Args:
        rows: tiles along y.
        columns: tiles along x.
    """

    rows: Axis
    columns: Axis

    @classmethod
    def over(
        cls,
        shape: tuple[int, ...],
        tile: tuple[int, int] = (256, 256),
        *,
        overlap: float = 0.25,
        padding: Padding = "constant",
        alignment: int = 1,
        margin: int = 0,
        fitted: bool = False,
        layout: Layout = "strided",
    ) -> TileGrid:
        """Lay the grid over an image.

        Args:
            shape: `(Y, X)` of the image.
            tile: `(Y, X)` of a tile.
            overlap: part of a tile's side shared with its neighbour, 0 to 0.5; the stride is
                `tile × (1 − overlap)`, rounded up to an even number of pixels.
            padding: what lies beyond the image's border.
            alignment: tiles start at multiples of so many pixels of the image; sides of a tile are
                multiples too.
            margin: pixels by which tiles reach beyond the image at least; such a multiple too.
            fitted: take tiles of smaller sides where they cover the image with less beyond it; the
                margin is 0 then.
            layout: `tapered` for tiles as Cellpose lays and averages them, which neither padding
                nor alignment changes.

        Raises:
            BadInput: a side, an overlap or the alignment is out of range.
        """
        if min(*shape, *tile) < 1:
            raise BadInput("tiling", expected="sides of at least 1", found=f"{shape}, tile {tile}")
        if not 0 <= overlap <= 0.5:
            # Beyond one half three tiles would meet, and the weights no longer add up to one.
            raise BadInput("tiling.overlap", expected="0 to 0.5", found=f"{overlap}")
        if padding not in ("constant", "reflect"):
            raise BadInput("tiling.padding", expected="constant or reflect", found=repr(padding))
        if alignment < 1 or any(side % alignment for side in tile):
            raise BadInput(
                "tiling", expected=f"tiles of multiples of {alignment}", found=f"tile {tile}"
            )
        if margin < 0 or margin % alignment or 2 * margin >= min(tile):
            expected = f"a multiple of {alignment} below half a tile"
            raise BadInput("tiling.margin", expected=expected, found=f"{margin}")
        if fitted and margin:
            raise BadInput("tiling.margin", expected="0 where tiles are fitted", found=f"{margin}")
        if layout == "tapered":
            y, x = (
                TaperedAxis.over(size, side, overlap, fitted)
                for size, side in zip(shape, tile, strict=True)
            )
            return cls(y, x)
        rows, columns = (
            TileAxis.fitted(size, side, overlap, padding, alignment)
            if fitted
            else TileAxis.over(size, side, overlap, padding, alignment, margin)
            for size, side in zip(shape, tile, strict=True)
        )
        return cls(rows, columns)

    def strided(self, stride: int) -> TileGrid:
        """The same tiles over a head that has one value for `stride` × `stride` pixels."""
        return TileGrid(self.rows.strided(stride), self.columns.strided(stride))

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

    def overwrites(self, placement: Placement) -> bool:
        """Whether the later of two overlapping tiles overwrites; else they are added by weight."""
        return self.rows.overwrites(placement) or self.columns.overwrites(placement)

    def weights(self, row: int, column: int, placement: Placement) -> np.ndarray:
        """The weights of one tile's pixels, the product of its axes' weights.

        Returns:
            `(tile_y, tile_x)` float64.
        """
        rows, columns = self.rows.weights(row, placement), self.columns.weights(column, placement)
        return np.outer(rows, columns)

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


def inner_window(size: int, before: int, after: int) -> np.ndarray:
    """Weights of a tile's pixels along one axis: 1 inside, 0 in the outer half of an overlap.

    Of two overlapping tiles exactly one has weight 1 at each pixel.

    Args:
        size: pixels of the tile.
        before: pixels shared with the previous tile.
        after: pixels shared with the next tile.

    Returns:
        `(size,)` float64.
    """
    window = np.zeros(size)
    window[before // 2 : size - (after - after // 2)] = 1
    return window


#: The weights along an axis, by placement.
_WINDOWS: Mapping[Placement, Callable[[int, int, int], np.ndarray]] = {
    "blended": spline_window,
    "cropped": inner_window,
}


def _ramp(length: int) -> np.ndarray:
    """The rising half of the window, `(length,)` float64."""
    t = (2 * np.arange(length) + 1) / (2 * length)
    ramp = np.where(t < 0.5, (2 * t) ** 2 / 2, 1 - (2 * (1 - t)) ** 2 / 2)
    return ramp / ramp.max()
