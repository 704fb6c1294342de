"""Deep watershed of images of any size, tile by tile, with the labels of the untiled one.

What is kept in memory is a few tiles, a line of pixels around each tile, and tables of objects.

1. `maxima_statistics` goes over the map of maxima once: its extremes decide what a maximum is.
2. Each tile is flooded with a halo around it; ids are the places of markers in the whole image.
3. Where a tile believed of its neighbour's outermost pixels what the neighbour did not find, it is
   flooded again from its markers and those pixels, until none believes wrong: then every pixel has
   its least key, of which there is one (see `flooding_local`).
4. What hangs on whole objects (small ones, holes, numbers) is decided from tables.

Each step leaves marks with which it goes on after it was killed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cellmill.arrays.windows import Grid, Windowed, WritableWindowed
from cellmill.compiled import in_threads
from cellmill.segmentation.deep_watershed import Numbering, WatershedParameters
from cellmill.segmentation.flooding import Flooded, Line, exchange
from cellmill.segmentation.labels import small_objects
from cellmill.segmentation.tile_flooding import TileFlooder, from_bytes, to_bytes
from cellmill.segmentation.tile_markers import maxima_statistics
from cellmill.segmentation.tile_objects import (
    Cleaned,
    fill_holes_in,
    find_objects,
    number_objects,
    object_table,
)

#: Bytes that flooding takes for each pixel of a tile and its halo, all arrays together.
_BYTES_PER_PIXEL = 110
_SIDES = (2048, 1024, 512, 256)
#: Of flood, maxima and smoothing together, as a rule.
_MOST_HALO = 160


class Marks(Protocol):
    """Where parts of the work are marked as done (`cellmill.arrays.store.Ledger`)."""

    def done(self) -> set[str]:
        """The parts that are marked."""
        ...

    def mark(self, part: str, payload: bytes = b"") -> None:
        """Mark a part, and keep what later work needs of it."""
        ...

    def payload(self, part: str) -> bytes:
        """What was kept with a mark."""
        ...


class InMemory:
    """Marks that last as long as the process."""

    def __init__(self) -> None:
        self._marks: dict[str, bytes] = {}

    def done(self) -> set[str]:
        """The parts that are marked."""
        return set(self._marks)

    def mark(self, part: str, payload: bytes = b"") -> None:
        """Mark a part."""
        self._marks[part] = payload

    def payload(self, part: str) -> bytes:
        """What was kept with a mark."""
        return self._marks[part]


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


def tile_side(memory_mib: int) -> int:
    """Side of tiles of which at least two can be flooded at once within a budget."""
    fitting = (s for s in _SIDES if 2 * tile_bytes(s) <= memory_mib * 2**20)
    return next(fitting, _SIDES[-1])


def tile_bytes(side: int) -> int:
    """Bytes that flooding a tile takes at most, its halo and all arrays counted."""
    return (side + 2 * _MOST_HALO) ** 2 * _BYTES_PER_PIXEL


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
        maxima: `(Y, X)`, peaks at the objects' centres; float32, or values that float32 holds.
        interior: same shape, high within objects.
        parameters: all thresholds and radii.
        provisional: `(Y, X)` int64, all zero, to work in.
        out: `(Y, X)` int32 labels.
        side: of a tile in pixels; no result hangs on it.
        numbering: `canonical` or `reference`.
        marks: where finished tiles are marked, so that a run that was killed is gone on with.
        shuffled: draws the order of tiles, for tests.

    Raises:
        BadInput: a map holds NaN or infinity.
    """
    grid = Grid((maxima.shape[0], maxima.shape[1]), side)
    marks = marks or InMemory()
    flooder = TileFlooder(
        maxima, interior, parameters, maxima_statistics(maxima, parameters), provisional, grid
    )
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
    """Flood tiles for the first time, those that are not marked yet, so many at once."""
    done = marks.done()

    def work(tile: int) -> None:
        # The labels are written by then: a mark without labels cannot be.
        marks.mark(_name(tile), to_bytes(flooder.first(tile)))

    in_threads(work, [tile for tile in tiles if _name(tile) not in done], threads)


def settle(
    flooder: TileFlooder,
    marks: Marks,
    shuffled: random.Random | None = None,
    threads: int | None = None,
) -> int:
    """Flood tiles again until none believes wrong of a neighbour; how many floods that took."""

    def again(tile: int, rim: dict[int, Line]) -> Flooded:
        found = flooder.again(tile, rim)
        marks.mark(_name(tile), to_bytes(found))
        return found

    tiles = range(len(flooder.grid))
    flooded = {tile: from_bytes(marks.payload(_name(tile))) for tile in tiles}
    return exchange(flooder.grid, flooded, again, shuffled, threads)


def empty_tiles(flooder: TileFlooder, marks: Marks) -> int:
    """How many tiles had nothing to flood."""
    return sum(from_bytes(marks.payload(_name(tile))).empty for tile in range(len(flooder.grid)))


def cleaned_objects(
    labels: Windowed, parameters: WatershedParameters, grid: Grid, threads: int | None = None
) -> tuple[Cleaned, int]:
    """Erode, drop small objects and fill holes; how many objects' holes were looked at."""
    cleaned = Cleaned(labels, int(parameters.label_erosion))
    threshold, fraction = parameters.small_objects_threshold, parameters.small_objects_fraction
    if threshold <= 1 and not fraction and parameters.fill_holes_threshold <= 1:
        return cleaned, 0
    table = object_table(cleaned, grid, threads)
    small = small_objects(table.areas, table.at_border(grid.shape), threshold, fraction)
    cleaned.dropped = table.ids[small]
    return cleaned, fill_holes_in(cleaned, table.without(small), parameters.fill_holes_threshold)


def _name(tile: int) -> str:
    return f"tile-{tile:06}"
