"""Watershed of a map from markers, whole or tile by tile."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from cellmill.arrays.windows import BOTTOM, LEFT, OPPOSITE, RIGHT, TOP, Box, Grid
from cellmill.compiled import Scratch, in_threads, kernel
from cellmill.errors import BadInput
from cellmill.segmentation.flooding_local import flood_by_key, key_of
from cellmill.segmentation.flooding_reference import flood_by_age

TieRule = Literal["local", "reference"]
TIE_RULES: tuple[TieRule, ...] = ("local", "reference")

#: In memory, tiles are small enough for a CPU's second-level cache; most floods stay in the halo.
_TILE, _HALO = 384, 32


class Line(NamedTuple):
    """Keys and labels (0 where no flood came) along one side of a tile."""

    keys: np.ndarray
    labels: np.ndarray


class Flooded(NamedTuple):
    """What a tile's flood gave: the lines just inside and just outside its sides."""

    inside: dict[int, Line]
    outside: dict[int, Line]


Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def watershed(
    height: np.ndarray, markers: np.ndarray, mask: np.ndarray, tie_rule: TieRule = "local"
) -> np.ndarray:
    """Flood `height` downwards from markers, within a mask; every reached pixel gets a label.

    Pixels are taken in order of the lowest level at which a flood from the highest values reaches
    them: the next is the one with the greatest `min(own value, parent's level)`. Floods spread over
    faces (4 neighbours in 2-D, 6 in 3-D) and there are no lines between labels (the priority flood
    of Soille and Ansoult 1990; Beucher and Meyer 1993). Where that leaves a choice between equal
    pixels, `local` lets fewer steps along the level decide and then the smaller id: the answer is
    then the same however the image is cut up. `reference` takes scikit-image 0.25.2's order, which
    hangs on the whole image.

    Args:
        height: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite; objects are its hills.
        markers: same shape, integer, 0 where there is none; those outside the mask are ignored.
        mask: same shape, bool.
        tie_rule: `local` or `reference`.

    Returns:
        int32 of the same shape: the marker's id; 0 outside the mask and where no flood arrives.

    Raises:
        BadInput: the tie rule is neither.
    """
    if tie_rule not in TIE_RULES:
        raise BadInput("tie_rule", expected=" or ".join(TIE_RULES), found=repr(tie_rule))
    labels = np.zeros(height.shape, np.int32)
    if not height.size:
        return labels
    if height.dtype != np.float32:
        height = _ranked(height)
    markers = markers.astype(np.int32, copy=False)
    if tie_rule == "local" and height.ndim == 2:

        def read(box: Box) -> Maps:
            return height[box.slices], markers[box.slices], mask[box.slices]

        def write(box: Box, found: np.ndarray) -> None:
            labels[box.slices] = found

        flood_tiles(read, write, Grid((height.shape[0], height.shape[1]), _TILE), _HALO)
        return labels
    shape = tuple(side + 2 for side in height.shape)
    levels, flooded = np.empty(shape, np.uint32), np.empty(shape, np.int32)
    _start(height, markers, mask, levels, flooded)
    neighbours = _faces(shape)
    if tie_rule == "reference":
        flood_by_age(levels.reshape(-1), flooded.reshape(-1), neighbours)
    else:
        keys = np.zeros(levels.size, np.uint64)
        none = np.zeros(0, np.int64)
        flood_by_key(levels.reshape(-1), flooded.reshape(-1), keys, neighbours, none)
    inner = flooded[(slice(1, -1),) * height.ndim]
    return np.maximum(inner, 0, out=labels)


def flood_tiles(
    read: Callable[[Box], Maps],
    write: Callable[[Box, np.ndarray], None],
    grid: Grid,
    halo: int = 64,
    shuffled: random.Random | None = None,
) -> int:
    """Flood an image tile by tile; labels are those of the whole image flooded at once.

    Each tile is flooded with a halo around it. Where a tile believed of its neighbour's outermost
    pixels what the neighbour itself found, both are right; where not, the tile is flooded again
    from its markers and the neighbours' outermost pixels, until no tile's belief is wrong. What is
    kept in memory is those lines of pixels.

    Args:
        read: gives height, marker ids and mask of a box, as `watershed` takes them (float32 and
            int32; ids by raster order of markers); called from several threads.
        write: stores a tile's labels; a tile may be written again; called from several threads.
        grid: the tiles.
        halo: in pixels, at least 1.
        shuffled: draws which tiles of those to be flooded again come next; `None` takes all.

    Returns:
        How many floods were made again.
    """

    def first(tile: int) -> Flooded:
        box = grid.box(tile)
        return _flood_box(read, write, box, box.grown(max(halo, 1), grid.shape))

    def again(tile: int) -> Flooded:
        box = grid.box(tile)
        rim = {side: inside[other][OPPOSITE[side]] for side, other in grid.neighbours(tile)}
        return _flood_box(read, write, box, box.grown(1, grid.shape), rim)

    order = list(range(len(grid)))
    if shuffled:
        shuffled.shuffle(order)
    inside: dict[int, dict[int, Line]] = {}
    outside: dict[int, dict[int, Line]] = {}
    for tile, flooded in zip(order, in_threads(first, order), strict=True):
        inside[tile], outside[tile] = flooded.inside, flooded.outside
    wrong = {tile for tile in order if _believes_wrong(tile, grid, inside, outside)}
    repeated = 0
    while wrong:
        now = sorted(wrong)
        if shuffled:
            now = shuffled.sample(now, shuffled.randint(1, len(now)))
        repeated += len(now)
        touched = set(now)
        for tile, flooded in zip(now, in_threads(again, now), strict=True):
            inside[tile], outside[tile] = flooded.inside, flooded.outside
            touched.update(other for _, other in grid.neighbours(tile))
        for tile in touched:
            wrong.discard(tile)
            if _believes_wrong(tile, grid, inside, outside):
                wrong.add(tile)
    return repeated


def _believes_wrong(
    tile: int, grid: Grid, inside: dict[int, dict[int, Line]], outside: dict[int, dict[int, Line]]
) -> bool:
    for side, other in grid.neighbours(tile):
        believed, found = outside[tile][side], inside[other][OPPOSITE[side]]
        if not np.array_equal(believed.labels, found.labels):
            return True
        flooded = found.labels > 0
        if not np.array_equal(believed.keys[flooded], found.keys[flooded]):
            return True
    return False


def _flood_box(
    read: Callable[[Box], Maps],
    write: Callable[[Box, np.ndarray], None],
    box: Box,
    window: Box,
    rim: dict[int, Line] | None = None,
) -> Flooded:
    """Flood a window; with a rim, its outermost pixels are the neighbours' and not flooded."""
    height, markers, mask = read(window)
    shape = (height.shape[0] + 2, height.shape[1] + 2)
    wide = np.dtype(np.uint64)
    levels, labels, keys, *spare = _SCRATCH.arrays(
        shape, np.dtype(np.uint32), np.dtype(np.int32), wide, wide, wide
    )
    _start(height, markers, mask, levels, labels)
    keys[:] = 0
    sources = np.zeros(0, np.int64)
    core = tuple(slice(s.start + 1, s.stop + 1) for s in box.within(window))
    within, beyond = _lines(core)
    if rim is not None:
        frame = np.ones(labels.shape, bool)
        frame[core] = False
        labels[frame] = -1
        for side, known in rim.items():
            labels[beyond[side]] = -1 - known.labels
            keys[beyond[side]] = known.keys
        given = np.flatnonzero(labels < -1)
        order = np.lexsort((-labels.reshape(-1)[given], keys.reshape(-1)[given]))
        sources = given[order]
    flood_by_key(
        levels.reshape(-1),
        labels.reshape(-1),
        keys.reshape(-1),
        _faces(shape),
        sources,
        (spare[0].reshape(-1), spare[1].reshape(-1)),
    )
    write(box, np.maximum(labels[core], 0))

    def line(place: tuple[slice | int, slice | int]) -> Line:
        return Line(key_of(levels[place], keys[place]), np.maximum(labels[place], 0))

    return Flooded(
        {side: line(place) for side, place in within.items()},
        {side: line(place) for side, place in beyond.items()} if rim is None else rim,
    )


def _lines(core: tuple[slice, ...]) -> tuple[dict[int, tuple], dict[int, tuple]]:
    """Index of the outermost lines of pixels within a core, and of those just beyond them."""
    y, x = core
    within = {
        TOP: (y.start, x),
        BOTTOM: (y.stop - 1, x),
        LEFT: (y, x.start),
        RIGHT: (y, x.stop - 1),
    }
    beyond = {
        TOP: (y.start - 1, x),
        BOTTOM: (y.stop, x),
        LEFT: (y, x.start - 1),
        RIGHT: (y, x.stop),
    }
    return within, beyond


_SCRATCH = Scratch()


def _start(
    height: np.ndarray,
    markers: np.ndarray,
    mask: np.ndarray,
    levels: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Fill levels (the highest pixels lowest) and labels, each with a border outside the mask."""
    bits = height.view(np.uint32)
    if height.ndim == 2:
        _start_plane(bits, markers, mask, levels, labels)
        return
    labels[:] = -1
    for z in range(len(height)):
        _start_plane(bits[z], markers[z], mask[z], levels[z + 1], labels[z + 1])


@kernel
def _start_plane(bits, markers, mask, levels, labels):  # type: ignore[no-untyped-def]
    """Integers in the reverse order of floats: the sign bit set means a magnitude below zero."""
    sign = np.uint32(0x80000000)
    zero = np.uint32(0x7FFFFFFF)
    height, width = bits.shape
    labels[0] = -1
    labels[height + 1] = -1
    for y in range(height):
        labels[y + 1, 0] = -1
        labels[y + 1, width + 1] = -1
        for x in range(width):
            value = bits[y, x]
            labels[y + 1, x + 1] = markers[y, x] if mask[y, x] else np.int32(-1)
            levels[y + 1, x + 1] = zero - value if value < sign else max(value, sign) - np.uint32(1)


def _ranked(height: np.ndarray) -> np.ndarray:
    """Float32 in the order of float64 values: themselves if they fit, else their ranks."""
    narrow = height.astype(np.float32)
    if np.array_equal(narrow, height):
        return narrow
    ranks = np.unique(height, return_inverse=True)[1].reshape(height.shape)
    return ranks.astype(np.uint32).view(np.float32)


def _faces(shape: tuple[int, ...]) -> np.ndarray:
    """Offsets to the neighbours across faces in the flat array, in raster order."""
    steps = np.cumprod((1, *shape[:0:-1]))
    return np.concatenate([-steps[::-1], steps]).astype(np.int64)
