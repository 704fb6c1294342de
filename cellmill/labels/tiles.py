"""Objects of a label image of any size: tables by id, clean-up and numbering, tile by tile."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.indexing import box_of, places_in
from cellmill.arrays.windows import Box, Grid, Windowed, WritableWindowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.labels.enclosed import enclosed_places
from cellmill.labels.holes import add_quad, fill_box
from cellmill.labels.numbering import dense_ranks
from cellmill.labels.objects import erode_labels

_INT32_OBJECTS = 2**31 - 1
_BLOCK, _KEPT_BLOCKS = 256, 512
#: Boxes of more pixels are filled in parts.
_LARGE = 1 << 24


@dataclass(frozen=True)
class ObjectTable:
    """One row an object, in order of ids.

    Attributes:
        ids: int64.
        areas: pixels, int64.
        first: flat index `y * width + x` of the first pixel in raster order, int64.
        boxes: `(n, 4)` int64: y0, y1, x0, x1.
        eulers: Euler numbers, pixels joined over edges and corners, int64.
    """

    ids: np.ndarray
    areas: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    eulers: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def at_border(self, shape: Sequence[int]) -> np.ndarray:
        """Whether the border of the image, `(Y, X)`, cuts an object, a bool for each."""
        y0, y1, x0, x1 = self.boxes.T
        return (y0 == 0) | (y1 == shape[0]) | (x0 == 0) | (x1 == shape[1])

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
        labels: `(Y, X)` integers, 0 is background; ids of any size.
        grid: the tiles.
        threads: how many tiles at once; None is as many as there are threads.
    """
    return _added(in_threads(lambda tile: _part(labels, grid, tile), range(len(grid)), threads))


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
    boxes = np.tile(np.array([most, 0, most, 0]), (len(ids), 1))
    np.add.at(areas, place, np.concatenate([p.areas for p in parts]))
    np.add.at(quads, place, np.concatenate([p.eulers for p in parts]))
    np.minimum.at(first, place, np.concatenate([p.first for p in parts]))
    every = np.concatenate([p.boxes for p in parts])
    for column, join in enumerate((np.minimum, np.maximum, np.minimum, np.maximum)):
        join.at(boxes[:, column], place, every[:, column])
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


class Cleaned:
    """Labels with eroded edges and some objects left out, and with pixels given to others.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integers; pixels of images are given to others.
        erosion: pixels taken off every object's edge.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, labels: Windowed, erosion: int = 0) -> None:
        self.labels, self.erosion = labels, erosion
        self.shape: tuple[int, ...] = tuple(labels.shape)
        self.dropped: np.ndarray = np.zeros(0, np.int64)
        self._blocks = Grid(self.shape, _BLOCK)
        self._given: dict[int, list[tuple[np.ndarray, int]]] = {}

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape, len(self.shape))
        outer = box.grown(self.erosion, self.shape)
        found = np.asarray(self.labels[outer.slices]).astype(np.int64)
        found = np.ascontiguousarray(erode_labels(found, self.erosion)[box.within(outer)])
        if len(self.dropped) and found.size:
            ids, (dense,) = dense_ranks(found)
            ids[np.isin(ids, self.dropped)] = 0
            found = ids[dense]
        for block in self._blocks.overlapping(box) if self._given and found.size else ():
            for places, label in self._given.get(block, ()):
                y, x = np.divmod(places, self.shape[1])
                inside = box.holds(y, x)
                found[y[inside] - box.y0, x[inside] - box.x0] = label
        return found[rest]

    def give(self, y: np.ndarray, x: np.ndarray, label: int) -> None:
        """Give pixels to an object; what is given later counts."""
        blocks = self._blocks.tiles_at(y, x)
        for block in np.unique(blocks):
            mine = blocks == block
            places = y[mine] * self.shape[1] + x[mine]
            self._given.setdefault(int(block), []).append((places, label))


class _BlockCache:
    """Blocks of a `Cleaned` image that were read lately, kept up with what is given."""

    def __init__(self, image: Cleaned) -> None:
        self.image = image
        self.grid = Grid((image.shape[0], image.shape[1]), _BLOCK)
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()

    def read(self, box: Box) -> np.ndarray:
        out = np.empty(box.shape, np.int64)
        for block in self.grid.overlapping(box):
            place = self.grid.box(block)
            common = place.common(box)
            if common:
                out[common.within(box)] = self._block(block, place)[common.within(place)]
        return out

    def give(self, y: np.ndarray, x: np.ndarray, label: int) -> None:
        self.image.give(y, x, label)
        for block in np.unique(self.grid.tiles_at(y, x)):
            if block in self._blocks:
                place = self.grid.box(int(block))
                inside = place.holds(y, x)
                self._blocks[block][y[inside] - place.y0, x[inside] - place.x0] = label

    def _block(self, block: int, place: Box) -> np.ndarray:
        if block in self._blocks:
            self._blocks.move_to_end(block)
        else:
            self._blocks[block] = self.image[place.slices]
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return self._blocks[block]


def fill_holes_in(image: Cleaned, table: ObjectTable, size: float, large: int = _LARGE) -> int:
    """Fill holes of the objects of an image as `fill_holes` does; gives how many were touched.

    Args:
        image: the labels; filled pixels are given to it.
        table: of its objects, before any filling.
        size: in pixels; a piece of exactly that many stays.
        large: boxes of more pixels are gone through in parts.
    """
    if size <= 1:
        return 0
    cache = _BlockCache(image)
    touched = np.flatnonzero((table.eulers < 1) & (table.areas > 0))
    for k in touched:
        box = Box(*(int(edge) for edge in table.boxes[k]))
        label = int(table.ids[k])
        for part, window in _parts(box, int(np.ceil(size)), large):
            before = cache.read(window)
            after = before.copy()
            fill_box(after, label, size, part.within(window))
            y, x = np.nonzero(after != before)
            if len(y):
                cache.give(y + window.y0, x + window.x0, label)
    return len(touched)


def fill_enclosed_in(image: Cleaned, ids: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """Give objects what they enclose, as `cellmill.labels.enclosed.fill_enclosed` does.

    Args:
        image: the labels; what is enclosed is given to the objects there.
        ids: of the objects, in the order in which they are filled.
        boxes: theirs before anything is filled, `(n, 4)`: y0, y1, x0, x1; each is read whole.

    Returns:
        How many pixels more each object has then, or fewer, where that is not 0.
    """
    cache, more = _BlockCache(image), Counter[int]()
    for label, edges in zip(ids.tolist(), boxes.tolist(), strict=True):
        box = Box(*edges)
        window = cache.read(box)
        y, x = np.divmod(enclosed_places(window, label), box.shape[1])
        if len(y):
            more[label] += len(y)
            more.subtract(Counter(window[y, x].tolist()))
            cache.give(y + box.y0, x + box.x0, label)
    more.pop(0, None)
    return {label: count for label, count in more.items() if count}


def _parts(box: Box, size: int, large: int) -> Iterable[tuple[Box, Box]]:
    """A box as parts, each with what is around it: pieces that are filled do not reach farther."""
    if box.shape[0] * box.shape[1] <= large:
        yield box, box
        return
    side = max(int(large**0.5), 1)
    for y in range(box.y0, box.y1, side):
        for x in range(box.x0, box.x1, side):
            part = Box(y, min(y + side, box.y1), x, min(x + side, box.x1))
            around = Box(part.y0 - size, part.y1 + size, part.x0 - size, part.x1 + size)
            window = around.common(box)
            assert window is not None
            yield part, window


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
