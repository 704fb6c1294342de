"""A label image of any size that is cleaned up: without some objects, and with holes filled."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from cellmill.arrays.indexing import box_of, coordinates, places_at, places_in
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.labels.enclosed import enclosed_places
from cellmill.labels.holes import fill_box
from cellmill.labels.numbering import dense_ranks
from cellmill.labels.objects import erode_labels
from cellmill.labels.tiles import ObjectTable

#: Sides of the blocks of an image and of a volume that are kept, and how many are.
_BLOCKS, _KEPT_BLOCKS = {2: 256, 3: 32}, {2: 512, 3: 256}
#: Boxes of more pixels are filled in parts.
_LARGE = 1 << 24


class Cleaned:
    """Labels with eroded edges and some objects left out, and with pixels given to others.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integers.
        erosion: pixels taken off every object's edge.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, labels: Windowed, erosion: int = 0) -> None:
        self.labels, self.erosion = labels, erosion
        self.shape: tuple[int, ...] = tuple(labels.shape)
        self.dropped: np.ndarray = np.zeros(0, np.int64)
        self.blocks = Grid(self.shape, _BLOCKS[len(self.shape)])
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
        for block in self.blocks.overlapping(box) if self._given and found.size else ():
            for places, label in self._given.get(block, ()):
                _put(found, box, coordinates(places, self.shape), label)
        return found[rest]

    def give(self, places: np.ndarray, label: int) -> None:
        """Give pixels, by their places in the image laid flat, to an object; the last counts."""
        blocks = self.blocks.tiles_at(*coordinates(places, self.shape))
        for block in np.unique(blocks):
            self._given.setdefault(int(block), []).append((places[blocks == block], label))


class _BlockCache:
    """Blocks of a `Cleaned` image that were read lately, kept up with what is given."""

    def __init__(self, image: Cleaned) -> None:
        self.image, self.grid = image, image.blocks
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()

    def read(self, box: Box) -> np.ndarray:
        out = np.empty(box.shape, np.int64)
        for block in self.grid.overlapping(box):
            place = self.grid.box(block)
            common = place.common(box)
            if common:
                out[common.within(box)] = self._block(block, place)[common.within(place)]
        return out

    def give(self, places: np.ndarray, label: int) -> None:
        self.image.give(places, label)
        at = coordinates(places, self.image.shape)
        for block in np.unique(self.grid.tiles_at(*at)):
            if block in self._blocks:
                _put(self._blocks[block], self.grid.box(int(block)), at, label)

    def _block(self, block: int, place: Box) -> np.ndarray:
        if block in self._blocks:
            self._blocks.move_to_end(block)
        else:
            self._blocks[block] = self.image[place.slices]
            if len(self._blocks) > _KEPT_BLOCKS[len(place.shape)]:
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
            places = np.flatnonzero(after != before)
            if len(places):
                cache.give(places_in(places, window, image.shape), label)
    return len(touched)


def fill_enclosed_in(image: Cleaned, ids: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """Give objects what they enclose, as `cellmill.labels.enclosed.fill_enclosed` does.

    Args:
        image: the labels; what is enclosed is given to the objects there.
        ids: of the objects, in the order in which they are filled.
        boxes: theirs before anything is filled, as in an `ObjectTable`; each is read whole.

    Returns:
        How many pixels more each object has then, or fewer, where that is not 0.
    """
    cache, more = _BlockCache(image), Counter[int]()
    for label, edges in zip(ids.tolist(), boxes.tolist(), strict=True):
        box = Box.of([*zip(edges[0::2], edges[1::2], strict=True)])
        window = cache.read(box)
        places = enclosed_places(window, label)
        if len(places):
            more[label] += len(places)
            more.subtract(Counter(window.reshape(-1)[places].tolist()))
            cache.give(places_in(places, box, image.shape), label)
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


def _put(pixels: np.ndarray, box: Box, at: tuple[np.ndarray, ...], label: int) -> None:
    """Label those of some pixels of the image that lie in a box."""
    inside = box.holds(*at)
    pixels.reshape(-1)[places_at([along[inside] for along in at], box)] = label
