"""Cellpose's masks of images and volumes of any size, tile by tile, equal to those in memory.

Positions are those in the whole image, so a walk is the same whatever window it is followed in; one
that comes to the edge of its window is followed again in a larger one, or goes on in another
(volumes). What tiles depend on each other for is settled in this order:

1. How many walks ended in each pixel is added up from the tiles' tables; seeds and what they grow
   to are found tile by tile, with as much around as they depend on.
2. Each pixel gets the object of the pixel its walk ended in. Until then the array of ids holds ends
   as negative numbers, so that a tile that was lost and is walked again is told from the others.
3. Objects' own flows are compared with the network's, each object in one piece; of images.
4. What is too large or too small, and numbers, are decided from tables of all objects.

Each step leaves marks with which it goes on after it was killed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from cellmill.arrays.indexing import coordinates
from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Plane, Windowed, WritableWindowed
from cellmill.arrays.workspace import Workspace, tile_mark, unfinished_tiles
from cellmill.compute.threads import in_threads
from cellmill.labels.cleaned import Cleaned, fill_enclosed_in
from cellmill.labels.enclosed import enclosing
from cellmill.labels.numbering import dense_ranks
from cellmill.labels.tiles import ObjectTable, object_table
from cellmill.segmentation.cellpose.ends import Ends, Owners, owners_of, tiles_with
from cellmill.segmentation.cellpose.heat import flow_errors
from cellmill.segmentation.cellpose.parameters import CellposeParameters
from cellmill.segmentation.cellpose.selection import too_large, too_small
from cellmill.segmentation.cellpose.shared_heat import heat_type, rounds_of, shared_flow_errors
from cellmill.segmentation.cellpose.volume_walks import follow_block, volume_field_of
from cellmill.segmentation.cellpose.walks import PART, Field, field_of, follow_tile
from cellmill.segmentation.interface import Maps

#: What a workspace calls the ids, and the mark of what is known of all objects.
_IDS, _OBJECTS = "ids", "objects"
#: Objects are compared together in a window of at most so many times the pixels of a tile.
_WINDOW = 4


class TiledCellpose:
    """The masks of one image or volume, in the four steps of `cellmill.segmentation.interface`.

    Args:
        maps: flows and probability; of a volume flows along all of its axes.
        parameters: thresholds.
        grid: the tiles; no result depends on them.
        workspace: where ids are kept, and of each tile where its walks ended.
    """

    def __init__(
        self, maps: Maps, parameters: CellposeParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._workspace, self._marks = workspace, workspace.marks

    def prepare(self, threads: int | None = None) -> None:
        """Make the array of ids; nothing depends on the whole image yet."""
        assert self._ids is not None

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Follow the flows from each pixel of a cell of some tiles."""

        def one(tile: int) -> None:
            box = self._grid.box(tile)
            ends, tries = self._walked(box)
            self._ids[box.slices] = ~ends
            # The ends are written by then: a mark without them cannot be.
            self._marks.mark(tile_mark(tile), Ends.of(ends, tries).to_bytes())

        left = unfinished_tiles(tiles, self._grid, self._ids, self._marks, tile_mark, threads)
        in_threads(one, left, threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Find seeds and objects, and decide which objects are kept."""
        tiles = range(len(self._grid))
        tries = in_threads(lambda tile: self._ends(tile).tries, tiles, threads)
        self._each_once("seeds", self._find_owners, threads)
        in_threads(self._assign, tiles, threads)
        if _OBJECTS not in self._marks.done():
            self._marks.mark(_OBJECTS, self._decided(threads))
        found = unpacked(self._marks.payload(_OBJECTS))
        return {
            "tiles": len(tiles),
            "walked_again": sum(tries),
            "objects": len(found["ids"]),
            "dropped": len(found["dropped"]),
        }

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects that are kept, with what they enclose, and without those small then."""
        found = unpacked(self._marks.payload(_OBJECTS))
        cleaned = Cleaned(self._kept(self._workspace.finished))
        cleaned.dropped = found["dropped"]
        ids, areas, holed = found["ids"], found["areas"], found["holed"]
        more = fill_enclosed_in(cleaned, ids[holed], found["boxes"][holed])
        if not more and self._parameters.rule == "right":
            return cleaned
        place = {label: k for k, label in enumerate(ids.tolist())}
        for label, count in more.items():
            areas[place[label]] += count
        numbers = 1 + np.flatnonzero(areas)
        small = too_small(areas[numbers - 1], numbers, self._pixels, self._parameters)
        last = Cleaned(cleaned)
        last.dropped = np.sort(ids[numbers[small] - 1])
        return last

    @functools.cached_property
    def _ids(self) -> WritableWindowed:
        return self._kept(self._workspace.array)

    def _kept(self, of: Callable[..., Any]) -> Any:
        """The array of ids, to be written or to be read; of a volume it has a channel."""
        shape = self._grid.shape
        if len(shape) == 2:
            return of(_IDS, shape, np.int64)
        return Plane(of(_IDS, (*shape, 1), np.int64), 0)

    @property
    def _pixels(self) -> int:
        return math.prod(self._grid.shape)

    @property
    def _compares(self) -> bool:
        """Whether objects are dropped for their flows."""
        return len(self._grid.shape) == 2 and bool(self._parameters.flow_threshold)

    def _walked(self, box: Box) -> tuple[np.ndarray, int]:
        """Where the walks of a tile end, and how many more windows they were followed in."""
        if len(self._grid.shape) == 2:
            return follow_tile(box, self._grid.shape, self._field_at, self._parameters.steps)
        return follow_block(box, self._grid, self._field_at, self._parameters.steps)

    def _field_at(self, window: Box) -> Field:
        flows = self._maps.read("flows", window)
        probability = self._maps.read("probability", window)
        threshold, shape = self._parameters.cellprob_threshold, self._grid.shape
        if len(shape) == 2:
            rule = self._parameters.rule
            return field_of(flows, probability, threshold, window, shape, rule)
        joins = self._parameters.joins
        return volume_field_of(flows, probability, threshold, window, shape, joins)

    def _ends(self, tile: int) -> Ends:
        return Ends.from_bytes(self._marks.payload(tile_mark(tile)))

    def _each_once(self, what: str, find: Callable[[int], bytes], threads: int | None) -> None:
        """Find something of each tile of which it is not marked yet."""
        done = self._marks.done()
        left = [tile for tile in range(len(self._grid)) if tile_mark(tile, what) not in done]
        in_threads(lambda tile: self._marks.mark(tile_mark(tile, what), find(tile)), left, threads)

    @functools.cached_property
    def _sources(self) -> dict[int, list[int]]:
        """The tiles from which walks ended in each tile."""
        found: dict[int, list[int]] = {}
        for tile in range(len(self._grid)):
            for target in self._ends(tile).tiles(self._grid):
                found.setdefault(target, []).append(tile)
        return found

    def _find_owners(self, tile: int) -> bytes:
        """The pixels of a tile that belong to seeds."""
        box = self._grid.box(tile)
        window = box.grown(Owners.REACH, self._grid.shape)
        near = self._grid.overlapping(window)
        sources = {source for each in near for source in self._sources.get(each, ())}
        counts = np.zeros(window.shape, np.int32)
        for source in sorted(sources):
            self._ends(source).add_to(counts, window, self._grid.shape)
        return owners_of(counts, window, box, self._grid.shape).to_bytes()

    def _assign(self, tile: int) -> None:
        """Put objects in place of ends in a tile, unless they are there."""
        box = self._grid.box(tile)
        ids = np.array(self._ids[box.slices])
        walked = ids < 0
        if not walked.any():
            return
        ends, whose = np.unique(~ids[walked], return_inverse=True)
        found = np.zeros(len(ends), np.int64)
        for target in tiles_with(ends, self._grid):
            owners = Owners.from_bytes(self._marks.payload(tile_mark(target, "seeds")))
            owners.assign(ends, found, self._grid.box(target), self._grid.shape)
        ids[walked] = found[whose]
        self._ids[box.slices] = ids

    def _decided(self, threads: int | None) -> bytes:
        """Which objects are kept, in raster order of first pixels, and which are dropped."""
        table = object_table(self._ids, self._grid, threads)
        large = too_large(table.areas, self._pixels, self._parameters)
        objects = table.without(large)
        errors, holed = self._compared(objects, threads)
        order = np.argsort(objects.first)
        numbers: np.ndarray = np.arange(1, len(order) + 1)
        if self._compares:
            kept = errors[order] <= self._parameters.flow_threshold
            order, numbers = order[kept], numbers[kept]
        small = too_small(objects.areas[order], numbers, self._pixels, self._parameters)
        order = order[~small]
        return packed(
            ids=objects.ids[order],
            areas=objects.areas[order],
            boxes=objects.boxes[order],
            holed=holed[order],
            dropped=np.setdiff1d(table.ids, objects.ids[order], assume_unique=True),
        )

    def _compared(self, objects: ObjectTable, threads: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Of each object how its own flows differ from the network's, and if it encloses any."""
        tiles = self._grid.tiles_at(*coordinates(objects.first, self._grid.shape))

        def compare(tile: int) -> bytes:
            mine = np.flatnonzero(tiles == tile)
            errors, holed = np.zeros(len(mine)), np.zeros(len(mine), bool)
            for some in self._together(objects.boxes[mine]):
                chosen = mine[some]
                errors[some], holed[some] = self._compare(objects, chosen)
            return packed(errors=errors, holed=holed)

        self._each_once("errors", compare, threads)
        errors, holed = np.zeros(len(objects)), np.zeros(len(objects), bool)
        for tile in np.unique(tiles):
            found = unpacked(self._marks.payload(tile_mark(int(tile), "errors")))
            errors[tiles == tile], holed[tiles == tile] = found["errors"], found["holed"]
        return errors, holed

    def _together(self, boxes: np.ndarray) -> list[np.ndarray]:
        """Objects that are looked at in one window: all, or each by itself where they reach far."""
        everyone = np.arange(len(boxes))
        if not len(boxes):
            return []
        whole = _around(boxes)
        if math.prod(whole.shape) <= _WINDOW * math.prod(self._grid.sides):
            return [everyone]
        return [everyone[k : k + 1] for k in everyone]

    def _compare(self, objects: ObjectTable, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The errors of some objects of the table, and which of them enclose any pixel."""
        ids, boxes = objects.ids[chosen], objects.boxes[chosen]
        window = _around(boxes)
        known, (labels,) = dense_ranks(np.asarray(self._ids[window.slices]))
        numbers = np.searchsorted(known, ids)
        moved = boxes - np.repeat(window.origin, 2)
        holed = enclosing(labels, numbers, moved)
        if not self._compares:
            return np.zeros(len(ids)), holed
        if self._parameters.rule == "cellpose4":
            return self._compare_together(objects, chosen, window), holed
        steps = self._maps.read("flows", window).astype(np.float32) / PART
        return flow_errors(labels, numbers, moved, steps), holed

    def _compare_together(
        self, objects: ObjectTable, chosen: np.ndarray, window: Box
    ) -> np.ndarray:
        """The errors of some objects by the heat of all that lie around them as well."""
        near = np.unique(self._ids[window.grown(1, self._grid.shape).slices])
        rows = np.union1d(chosen, np.flatnonzero(np.isin(objects.ids, near)))
        boxes = objects.boxes[rows]
        window = _around(boxes)
        known, (labels,) = dense_ranks(np.asarray(self._ids[window.slices]))
        numbers = np.searchsorted(known, objects.ids[rows])
        moved = boxes - np.repeat(window.origin, 2)
        steps = self._maps.read("flows", window).astype(np.float32) / PART
        rounds, dtype = rounds_of(objects.boxes), heat_type(self._grid.shape)
        errors = shared_flow_errors(labels, numbers, moved, steps, rounds, dtype)
        return errors[np.searchsorted(rows, chosen)]


def _around(boxes: np.ndarray) -> Box:
    """The box around some boxes."""
    starts, stops = boxes[:, 0::2].min(axis=0), boxes[:, 1::2].max(axis=0)
    return Box.of([*zip(starts.tolist(), stops.tolist(), strict=True)])
