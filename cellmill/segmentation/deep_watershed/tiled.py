"""Deep watershed of images and volumes of any size, tile by tile, with the untiled one's labels.

What is kept in memory is a few tiles, digests of each tile's outermost pixels, and tables of
objects.

1. `maxima_statistics` goes over the map of maxima once: its extremes decide what a maximum is.
2. Each tile is flooded with a halo around it; ids are the places of markers in the whole image.
3. Where a tile believed of its neighbour's outermost pixels what the neighbour did not find, it is
   flooded again from its markers and those pixels, until none believes wrong: then every pixel has
   its least key, of which there is one (see `flooding_local`).
4. What depends on whole objects (small ones, holes, numbers) is decided from tables.

Each step leaves marks with which it goes on after it was killed.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import AnyWindowed, Grid, Plane, Windowed, WritableWindowed
from cellmill.arrays.workspace import Marks, MemoryMarks, Workspace, tile_mark, unfinished_tiles
from cellmill.compute.threads import in_threads
from cellmill.labels.cleaned import Cleaned, fill_holes_in
from cellmill.labels.objects import small_objects
from cellmill.labels.tiles import find_objects, number_objects, object_table
from cellmill.morphology.seams import Flooded, exchange
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.deep_watershed.tile_flooding import TileFlooder, from_bytes, to_bytes
from cellmill.segmentation.deep_watershed.tile_markers import MaximaStatistics, maxima_statistics
from cellmill.segmentation.interface import Numbering

#: What a workspace calls the flooded ids, and the mark that keeps what a maximum is.
_IDS, _STATISTICS = "ids", "statistics"
#: Of so many tiles that are flooded again the outermost pixels are held.
_AT_ONCE = 32


@dataclass(frozen=True)
class TilingReport:
    """What a tiled segmentation came to.

    Attributes:
        tiles: how many there were.
        flooded_again: how many floods were made again at the seams.
        empty: tiles in which nothing was to be flooded.
        holes_looked_at: objects whose holes were looked for.
        areas: of the objects in the order of their labels, pixels.
    """

    tiles: int
    flooded_again: int
    empty: int
    holes_looked_at: int
    areas: np.ndarray


class TiledWatershed:
    """The deep watershed of one image or volume, in the four steps of the methods' interface.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)`, peaks at the objects' centres; float32, or values that
            float32 holds.
        interior: same shape, high within objects.
        parameters: all thresholds and radii.
        grid: the tiles; no result depends on them.
        workspace: where ids and the tiles' outermost pixels are kept.
    """

    def __init__(
        self,
        maxima: Windowed,
        interior: Windowed,
        parameters: WatershedParameters,
        grid: Grid,
        workspace: Workspace,
    ) -> None:
        self._maxima, self._interior, self._parameters = maxima, interior, parameters
        self._grid, self._workspace, self._marks = grid, workspace, workspace.marks

    def prepare(self, threads: int | None = None) -> None:
        """Go over the map of maxima once for what a maximum is."""
        self._workspace.array(_IDS, self._stored, np.int64)
        if _STATISTICS not in self._marks.done():
            found = maxima_statistics(self._maxima, self._parameters, self._grid, threads)
            self._marks.mark(_STATISTICS, packed(**found.to_arrays()))

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Flood tiles, each with a halo around it."""
        flood_parts(self._flooder, tiles, self._marks, threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Flood again where a tile believed wrong of a neighbour, until none does."""
        again = settle(self._flooder, self._marks, threads=threads)
        return {
            "tiles": len(self._grid),
            "empty": empty_tiles(self._flooder, self._marks),
            "flooded_again": again,
        }

    def labels(self, threads: int | None = None) -> Windowed:
        """The flooded objects, small ones dropped and holes filled."""
        ids = self._without_channels(self._workspace.finished(_IDS, self._stored, np.int64))
        return cleaned_objects(ids, self._parameters, self._grid, threads)[0]

    @property
    def _stored(self) -> tuple[int, ...]:
        """The shape of what is stored: a workspace's volumes have channels."""
        shape = self._grid.shape
        return shape if len(shape) == 2 else (*shape, 1)

    def _without_channels(self, ids: AnyWindowed) -> AnyWindowed | Plane:
        return ids if len(self._grid.shape) == 2 else Plane(ids, 0)

    @functools.cached_property
    def _flooder(self) -> TileFlooder:
        ids = self._without_channels(self._workspace.array(_IDS, self._stored, np.int64))
        statistics = MaximaStatistics.from_arrays(unpacked(self._marks.payload(_STATISTICS)))
        return TileFlooder(
            self._maxima, self._interior, self._parameters, statistics, ids, self._grid
        )


def segment_tiled(
    maxima: Windowed,
    interior: Windowed,
    parameters: WatershedParameters,
    provisional: WritableWindowed,
    out: WritableWindowed,
    *,
    side: int = 2048,
    numbering: Numbering = "canonical",
    marks: Marks | None = None,
    shuffled: random.Random | None = None,
) -> TilingReport:
    """Segment one image of any size: the labels of `segment_maps`, by the local tie rule.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)`, peaks at the objects' centres; float32, or values that
            float32 holds.
        interior: same shape, high within objects.
        parameters: all thresholds and radii.
        provisional: same shape, int64, all zero, to work in.
        out: same shape, int32 labels.
        side: of a tile in pixels; no result depends on it.
        numbering: `canonical` or `reference`.
        marks: where finished tiles are marked, so that a run that was killed is gone on with.
        shuffled: draws the order of tiles, for tests.

    Raises:
        BadInput: a map holds NaN or infinity.
    """
    grid = Grid(maxima.shape, side)
    marks = marks or MemoryMarks()
    statistics = maxima_statistics(maxima, parameters, grid)
    flooder = TileFlooder(maxima, interior, parameters, statistics, provisional, grid)
    tiles = list(range(len(grid)))
    if shuffled:
        shuffled.shuffle(tiles)
    flood_parts(flooder, tiles, marks)
    again = settle(flooder, marks, shuffled)
    cleaned, looked_at = cleaned_objects(provisional, parameters, grid)
    objects = find_objects(cleaned, grid)
    areas = number_objects(cleaned, objects, out, grid, by_id=numbering == "reference")
    return TilingReport(len(grid), again, empty_tiles(flooder, marks), looked_at, areas)


def flood_parts(
    flooder: TileFlooder, tiles: Iterable[int], marks: Marks, threads: int | None = None
) -> None:
    """Flood tiles that are not marked yet, or whose labels are lost, so many at once."""

    def work(tile: int) -> None:
        # The labels are written by then: a mark without labels cannot be.
        marks.mark(tile_mark(tile), to_bytes(flooder.first(tile)))

    left = unfinished_tiles(tiles, flooder.grid, flooder.labels, marks, tile_mark, threads)
    in_threads(work, left, threads)


class KeptFloods:
    """What the floods of all tiles gave, kept with their marks: none of it is held.

    Args:
        marks: of the work, one a tile.
        count: how many tiles there are.
    """

    def __init__(self, marks: Marks, count: int) -> None:
        self._marks, self._count = marks, count

    def __getitem__(self, tile: int) -> Flooded:
        """Read what a tile's flood gave."""
        return from_bytes(self._marks.payload(tile_mark(tile)))

    def __setitem__(self, tile: int, flooded: Flooded) -> None:
        """Keep what a tile's flood gave; its labels are written by then."""
        self._marks.mark(tile_mark(tile), to_bytes(flooded))

    def __iter__(self) -> Iterator[int]:
        """The tiles."""
        return iter(range(self._count))


def settle(
    flooder: TileFlooder,
    marks: Marks,
    shuffled: random.Random | None = None,
    threads: int | None = None,
) -> int:
    """Flood tiles again until none believes wrong of a neighbour; how many floods that took."""
    kept = KeptFloods(marks, len(flooder.grid))
    return exchange(flooder.grid, kept, flooder.again, shuffled, threads, _AT_ONCE)


def empty_tiles(flooder: TileFlooder, marks: Marks) -> int:
    """How many tiles had nothing to flood."""
    kept = KeptFloods(marks, len(flooder.grid))
    return sum(kept[tile].empty for tile in kept)


def cleaned_objects(
    labels: Windowed, parameters: WatershedParameters, grid: Grid, threads: int | None = None
) -> tuple[Cleaned, int]:
    """Erode, drop small objects and fill holes; how many objects' holes were looked at."""
    cleaned = Cleaned(labels, int(parameters.label_erosion))
    threshold, fraction = parameters.small_objects_threshold, parameters.small_objects_fraction
    holes = parameters.fill_holes_threshold if len(grid.shape) == 2 else 0
    if threshold <= 1 and not fraction and holes <= 1:
        return cleaned, 0
    if holes <= 1:
        objects = find_objects(cleaned, grid, threads)
        small = small_objects(objects.areas, objects.at_border, threshold, fraction)
        cleaned.dropped = objects.ids[small]
        return cleaned, 0
    table = object_table(cleaned, grid, threads)
    small = small_objects(table.areas, table.at_border(grid.shape), threshold, fraction)
    cleaned.dropped = table.ids[small]
    return cleaned, fill_holes_in(cleaned, table.without(small), holes)
