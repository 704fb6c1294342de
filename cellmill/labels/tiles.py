"""Objects of a label image of any size: tables by id and numbering, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.indexing import places_in
from cellmill.arrays.windows import Box, Grid, Windowed, WritableWindowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.labels.holes import add_quad
from cellmill.labels.numbering import dense_ranks
from cellmill.labels.objects import extents

_INT32_OBJECTS = 2**31 - 1


@dataclass(frozen=True)
class ObjectTable:
    """One row an object, in order of ids.

    Attributes:
        ids: int64.
        areas: pixels, int64.
        first: place of the first pixel in the image laid flat, int64.
        boxes: `(n, 4)` int64: y0, y1, x0, x1; of a volume `(n, 6)`, z0, z1 first.
        eulers: Euler numbers, pixels joined over edges and corners, int64; 0 in volumes.
    """

    ids: np.ndarray
    areas: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    eulers: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def at_border(self, shape: Sequence[int]) -> np.ndarray:
        """Whether the border of an image or volume of this shape cuts an object, a bool each."""
        begins, ends = self.boxes[:, 0::2] == 0, self.boxes[:, 1::2] == np.array(shape)
        found: np.ndarray = begins.any(axis=1) | ends.any(axis=1)
        return found

    def without(self, dropped: np.ndarray) -> ObjectTable:
        """The table without some objects, a bool for each."""
        kept = ~dropped
        return ObjectTable(
            self.ids[kept],
            self.areas[kept],
            self.first[kept],
            self.boxes[kept],
            self.eulers[kept],
        )


def object_table(labels: Windowed, grid: Grid, threads: int | None = None) -> ObjectTable:
    """Describe every object of a label image, tile by tile.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integers, 0 is background; ids of any size.
        grid: the tiles.
        threads: how many tiles at once; None is as many as there are threads.
    """
    part = _part if len(grid.shape) == 2 else _block
    return _added(in_threads(lambda tile: part(labels, grid, tile), range(len(grid)), threads))


def _block(labels: Windowed, grid: Grid, tile: int) -> ObjectTable:
    box = grid.box(tile)
    ids, (dense,) = dense_ranks(_wide(labels, box))
    areas, first, boxes = extents(dense, len(ids) - 1)
    found = 1 + np.flatnonzero(areas[1:])
    places = places_in(first[found], box, grid.shape)
    moved = boxes[found] + np.repeat(box.origin, 2)
    return ObjectTable(ids[found], areas[found], places, moved, np.zeros(len(found), np.int64))


def _part(labels: Windowed, grid: Grid, tile: int) -> ObjectTable:
    box = grid.box(tile)
    height, width = grid.shape
    # Quads belong to the tile of their last pixel; the image is surrounded by background.
    outer = Box(max(box.y0 - 1, 0), box.y1, max(box.x0 - 1, 0), box.x1)
    ids, (dense,) = dense_ranks(_wide(labels, outer))
    pads = [
        (int(box.y0 == 0), int(box.y1 == height)),
        (int(box.x0 == 0), int(box.x1 == width)),
    ]
    areas, first, boxes, quads = _described(
        np.pad(dense, pads), box.shape[0], box.shape[1], len(ids)
    )
    found = np.flatnonzero((areas > 0) | (quads != 0))
    found = found[found > 0]
    y, x = np.divmod(first[found], box.shape[1])
    moved = boxes[found] + np.array([box.y0, box.y0, box.x0, box.x0])
    # A quad may touch an object that has no pixel in the tile.
    absent = areas[found] == 0
    moved[absent] = [height, 0, width, 0]
    places = (y + box.y0) * width + x + box.x0
    places[absent] = height * width
    return ObjectTable(ids[found], areas[found], places, moved, quads[found])


def _added(parts: Sequence[ObjectTable]) -> ObjectTable:
    """Add up the tables of parts; quads become Euler numbers."""
    ids, place = np.unique(np.concatenate([p.ids for p in parts]), return_inverse=True)
    areas, quads = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    most = np.iinfo(np.int64).max
    first = np.full(len(ids), most)
    every = np.concatenate([p.boxes for p in parts])
    boxes = np.tile(np.array([most, 0] * (every.shape[1] // 2)), (len(ids), 1))
    np.add.at(areas, place, np.concatenate([p.areas for p in parts]))
    np.add.at(quads, place, np.concatenate([p.eulers for p in parts]))
    np.minimum.at(first, place, np.concatenate([p.first for p in parts]))
    for column in range(every.shape[1]):
        (np.maximum if column % 2 else np.minimum).at(boxes[:, column], place, every[:, column])
    return ObjectTable(ids, areas, first, boxes, quads // 4)


@kernel
def _described(padded, high, wide, count):  # type: ignore[no-untyped-def]
    """Areas, first places, boxes and 4 × Euler number of the labels of a tile.

    `padded` has one row and column before the tile, and one after it where the image ends.
    """
    areas = np.zeros(count, np.int64)
    first = np.zeros(count, np.int64)
    boxes = np.zeros((count, 4), np.int64)
    quads = np.zeros(count, np.int64)
    rows, columns = padded.shape
    for y in range(1, rows):
        for x in range(1, columns):
            here = padded[y, x]
            left, above, left_above = padded[y, x - 1], padded[y - 1, x], padded[y - 1, x - 1]
            if here and y <= high and x <= wide:
                if areas[here] == 0:
                    first[here] = (y - 1) * wide + x - 1
                    boxes[here, 0] = y - 1
                    boxes[here, 2] = x - 1
                    boxes[here, 3] = x
                areas[here] += 1
                boxes[here, 1] = y
                boxes[here, 2] = min(boxes[here, 2], x - 1)
                boxes[here, 3] = max(boxes[here, 3], x)
            add_quad(left_above, above, left, here, quads)
    return areas, first, boxes, quads


@dataclass(frozen=True)
class Objects:
    """The objects of a label image, in order of ids.

    Attributes:
        ids: int64.
        areas: pixels, int64.
        first: place of the first pixel in the image laid flat, int64.
        at_border: whether the image's border cuts them, bool.
    """

    ids: np.ndarray
    areas: np.ndarray
    first: np.ndarray
    at_border: np.ndarray

    @property
    def label_dtype(self) -> np.dtype:
        """What holds as many labels: int32, or int64 past 2³¹ - 1 objects."""
        return np.dtype(np.int32 if len(self.ids) <= _INT32_OBJECTS else np.int64)


def find_objects(source: Windowed, grid: Grid, threads: int | None = None) -> Objects:
    """Find the objects of a label image, tile by tile.

    Args:
        source: `(Y, X)` or `(Z, Y, X)` integers of any size, 0 is background.
        grid: the tiles.
        threads: how many tiles at once; None is as many as there are threads.
    """

    def part(tile: int) -> tuple[np.ndarray, ...]:
        box = grid.box(tile)
        ids, (dense,) = dense_ranks(_wide(source, box))
        areas, first = _areas_and_first(dense.reshape(-1), len(ids))
        places = places_in(first, box, grid.shape)
        cut = np.zeros(len(ids), bool)
        for side in box.sides:
            axis, at_end = divmod(side, 2)
            if box.edges[axis][at_end] == (grid.shape[axis] if at_end else 0):
                cut[dense[box.face(side).within(box)]] = True
        found = np.flatnonzero(areas)
        found = found[found > 0]
        return ids[found], areas[found], places[found], cut[found]

    parts = in_threads(part, range(len(grid)), threads)
    ids, place = np.unique(np.concatenate([p[0] for p in parts]), return_inverse=True)
    areas = np.zeros(len(ids), np.int64)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    at_border = np.zeros(len(ids), bool)
    np.add.at(areas, place, np.concatenate([p[1] for p in parts]))
    np.minimum.at(first, place, np.concatenate([p[2] for p in parts]))
    np.logical_or.at(at_border, place, np.concatenate([p[3] for p in parts]))
    return Objects(ids, areas, first, at_border)


def number_objects(
    source: Windowed,
    objects: Objects,
    out: WritableWindowed,
    grid: Grid,
    *,
    by_id: bool = False,
    threads: int | None = None,
) -> np.ndarray:
    """Write a label image whose objects are 1…n in raster order of their first pixels.

    Args:
        source: `(Y, X)` or `(Z, Y, X)` integers of any size.
        objects: of the source.
        out: integers of the same shape, written tile by tile.
        grid: tiles; of what `out` is stored in, whole units.
        by_id: number them in the order of the ids that they have instead.
        threads: how many tiles at once; None is as many as there are threads.

    Returns:
        Areas of the objects in the order of their numbers, int64.
    """
    ids = objects.ids
    order = np.arange(len(ids)) if by_id else np.argsort(objects.first)
    number = np.empty(len(ids) + 1, np.int64)
    number[0] = 0
    number[1 + order] = np.arange(1, len(ids) + 1)

    def write(tile: int) -> None:
        box = grid.box(tile)
        present, (dense,) = dense_ranks(_wide(source, box))
        renamed = number[np.searchsorted(ids, present) + (present > 0)].astype(out.dtype)
        out[box.slices] = renamed[dense]

    in_threads(write, range(len(grid)), threads)
    return objects.areas[order]


def _wide(source: Windowed, box: Box) -> np.ndarray:
    return np.asarray(source[box.slices]).astype(np.int64, copy=False)


@kernel
def _areas_and_first(flat, count):  # type: ignore[no-untyped-def]
    areas = np.zeros(count, np.int64)
    first = np.zeros(count, np.int64)
    for i in range(len(flat)):
        label = flat[i]
        if areas[label] == 0:
            first[label] = i
        areas[label] += 1
    return areas, first
