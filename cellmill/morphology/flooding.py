"""Watershed of a map from markers, whole or tile by tile."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cellmill.arrays.windows import Box, Grid
from cellmill.compute.kernels import kernel
from cellmill.compute.memory import Scratch
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.morphology.flooding_local import flood_by_key, key_of
from cellmill.morphology.flooding_reference import flood_by_age
from cellmill.morphology.images import checked_image, checked_markers, ranked
from cellmill.morphology.seams import Face, Flooded, exchange
from cellmill.morphology.tie_rules import TIE_RULES, TieRule

#: In memory, tiles are small enough for a CPU's second-level cache; most floods stay in the halo.
_TILE, _HALO = 512, 32


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
    depends on the whole image.

    Args:
        height: `(Y, X)` or `(Z, Y, X)`, real numbers, finite; objects are its hills.
        markers: same shape, integer, 0 where there is none, at most 2³¹ - 1; those outside the mask
            are ignored.
        mask: same shape, bool; of numbers, those that are not 0 count.
        tie_rule: `local` or `reference`.

    Returns:
        int32 of the same shape: the marker's id; 0 outside the mask and where no flood arrives.

    Raises:
        BadInput: shapes differ, the height has other axes or NaN or infinity, markers are no
            integers from 0, or the tie rule is neither.

    Example:
        >>> height = np.array([[3, 2, 0, 2, 4]])
        >>> watershed(height, np.array([[1, 0, 0, 0, 2]]), height > 0).tolist()
        [[1, 1, 0, 2, 2]]
    """
    if tie_rule not in TIE_RULES:
        raise BadInput("tie_rule", expected=" or ".join(TIE_RULES), found=repr(tie_rule))
    height = checked_image(height, "height to flood")
    markers, mask = checked_markers(markers, height.shape), np.asarray(mask).astype(bool)
    if mask.shape != height.shape:
        raise BadInput("mask to flood", expected=f"shape {height.shape}", found=f"{mask.shape}")
    if not height.size:
        return np.zeros(height.shape, np.int32)
    if height.dtype != np.float32:
        height = ranked(height)
    if tie_rule == "local" and height.ndim == 2:

        def read(box: Box) -> Maps:
            return height[box.slices], markers[box.slices], mask[box.slices]

        return flood_in_memory(read, height.shape)
    # What floods meet beyond a tile is more in a volume than what caches spare.
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
    return np.maximum(flooded[(slice(1, -1),) * height.ndim], 0)


def flood_in_memory(read: Callable[[Box], Maps], shape: tuple[int, ...]) -> np.ndarray:
    """Flood an image of which windows are made when they are asked for; by the local tie rule.

    Args:
        read: see `flood_tiles`.
        shape: of the image, `(Y, X)`.

    Returns:
        int32 labels.
    """
    labels = np.empty(shape, np.int32)

    def write(box: Box, found: np.ndarray) -> None:
        labels[box.slices] = found

    flood_tiles(read, write, Grid(shape, _TILE), _HALO)
    return labels


def flood_tiles(
    read: Callable[[Box], Maps],
    write: Callable[[Box, np.ndarray], None],
    grid: Grid,
    halo: int = 64,
    shuffled: random.Random | None = None,
    around: Mapping[int, Face] | None = None,
    wanted: Sequence[Box] = (),
    keep: Callable[[Box, np.ndarray], None] | None = None,
) -> int:
    """Flood an image tile by tile; labels are those of the whole image flooded at once.

    Each tile is flooded with a halo around it. Where a tile believed of its neighbour's outermost
    pixels what the neighbour itself found, both are right; where not, the tile is flooded again
    from its markers and the neighbours' outermost pixels, until no tile's belief is wrong. What is
    kept in memory is those faces.

    Args:
        read: gives height, marker ids and mask of a box, as `watershed` takes them (float32 and
            int32; ids by raster order of markers); called from several threads.
        write: stores a tile's labels; a tile may be written again; called from several threads.
        grid: the tiles.
        halo: in pixels, at least 1.
        shuffled: draws which tiles of those to be flooded again come next; `None` takes all.
        around: pixels just beyond the image's sides that are flooded already.
        wanted: boxes of which the keys are wanted.
        keep: stores the keys of those parts of `wanted` that lie in a tile, as `write` does labels;
            they mean something where there is a label.

    Returns:
        How many floods were made again.
    """
    around = around or {}

    def flood(tile: int, window: Box, rim: dict[int, Face] | None) -> Flooded:
        box = grid.box(tile)
        beyond = _stretch(around, window, grid.shape)
        return _flood_box(read, write, box, window, beyond, rim, wanted, keep)

    def first(tile: int) -> Flooded:
        return flood(tile, grid.box(tile).grown(max(halo, 1), grid.shape), None)

    def again(tile: int, rim: dict[int, Face]) -> Flooded:
        window = grid.box(tile).grown(1, grid.shape)
        return flood(tile, window, {**_stretch(around, grid.box(tile), grid.shape), **rim})

    order = list(range(len(grid)))
    if shuffled:
        shuffled.shuffle(order)
    flooded = dict(zip(order, in_threads(first, order), strict=True))
    return exchange(grid, flooded, again, shuffled)


def _stretch(around: Mapping[int, Face], box: Box, shape: Sequence[int]) -> dict[int, Face]:
    """The part of the faces around an image that is just beyond a box at the image's edge."""
    found = {}
    for side, face in around.items():
        axis, at_end = divmod(side, 2)
        if box.edges[axis][at_end] == (shape[axis] if at_end else 0):
            part = list(box.slices)
            part[axis] = slice(0, 1)
            found[side] = Face(face.keys[tuple(part)], face.labels[tuple(part)])
    return found


def _nothing(box: Box, rim: Mapping[int, Face] | None) -> Flooded:
    """What a flood gives where there is nothing to be flooded."""
    dry = {side: Face.dry(box.face(side).shape, np.int32) for side in box.sides}
    outside = dry if rim is None else rim
    return Flooded(dry, {side: face.digest() for side, face in outside.items()})


def _flood_box(
    read: Callable[[Box], Maps],
    write: Callable[[Box, np.ndarray], None],
    box: Box,
    window: Box,
    around: Mapping[int, Face],
    rim: Mapping[int, Face] | None,
    wanted: Sequence[Box],
    keep: Callable[[Box, np.ndarray], None] | None,
) -> Flooded:
    """Flood a window; with a rim, what is beyond the box is the neighbours' and not flooded."""
    height, markers, mask = read(window)
    if not mask.any():
        write(box, np.zeros(box.shape, np.int32))
        return _nothing(box, rim)
    shape = tuple(side + 2 for side in height.shape)
    wide = np.dtype(np.uint64)
    # A row or plane more: pixels around the window may be sources, and their neighbours must be
    # there.
    levels, labels, keys, *spare = _SCRATCH.arrays(
        (shape[0] + 1, *shape[1:]), np.dtype(np.uint32), np.dtype(np.int32), wide, wide, wide
    )
    _start(height, markers, mask, levels[:-1], labels[:-1])
    labels[-1] = -1
    keys[:] = 0

    def laid_out(part: Box) -> Box:
        return part.moved(*(1 - start for start in window.origin))

    core = laid_out(box)
    given, beside = (around, laid_out(window)) if rim is None else (rim, core)
    if rim is not None:
        frame = np.ones(labels.shape, bool)
        frame[core.slices] = False
        labels[frame] = -1
    for side, face in given.items():
        place = beside.face(side, beyond=True).slices
        labels[place] = -1 - face.labels
        keys[place] = face.keys
    found = np.flatnonzero(labels < -1) if given else np.zeros(0, np.int64)
    order = np.lexsort((-labels.reshape(-1)[found], keys.reshape(-1)[found]))
    flood_by_key(
        levels.reshape(-1),
        labels.reshape(-1),
        keys.reshape(-1),
        _faces(shape),
        found[order],
        (spare[0].reshape(-1), spare[1].reshape(-1)),
    )
    write(box, np.maximum(labels[core.slices], 0))

    def keys_at(part: Box) -> np.ndarray:
        return key_of(levels[part.slices], keys[part.slices])

    for each in wanted:
        common = each.common(box)
        if common and keep:
            keep(common, keys_at(laid_out(common)))

    def face_at(part: Box) -> Face:
        owners = np.maximum(labels[part.slices], 0)
        return Face(np.where(owners > 0, keys_at(part), 0), owners)

    inside = {side: face_at(core.face(side)) for side in core.sides}
    outside: Mapping[int, Face] = rim or {}
    if rim is None:
        outside = {side: face_at(core.face(side, beyond=True)) for side in core.sides}
    return Flooded(inside, {side: face.digest() for side, face in outside.items()})


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


def _faces(shape: tuple[int, ...]) -> np.ndarray:
    """Offsets to the neighbours across faces in the flat array, in raster order."""
    steps = np.cumprod((1, *shape[:0:-1]))
    return np.concatenate([-steps[::-1], steps]).astype(np.int64)
