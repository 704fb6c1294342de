"""Morphological reconstruction by dilation, whole or tile by tile."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np

from cellmill.arrays.windows import Box, Grid
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.morphology.hmaxima import joined_heights, maxima_in_window
from cellmill.morphology.images import checked_image
from cellmill.morphology.reach import Reach, reach_of


def reconstruct(
    seed: np.ndarray, mask: np.ndarray, footprint: np.ndarray | None = None
) -> np.ndarray:
    """Dilate `seed` over and over, never above `mask`, until nothing changes.

    Scans in raster order and back, then a queue for what is left (L. Vincent, IEEE Trans. Image
    Processing 2, 1993, the hybrid algorithm).

    Args:
        seed: `(Y, X)` or `(Z, Y, X)`, real numbers, finite, nowhere above the mask.
        mask: same shape and dtype.
        footprint: neighbourhood of the dilation, odd sides; `None` is 3 × 3 (× 3).

    Returns:
        Same shape; float32, or float64 where the dtype needs it.

    Raises:
        BadInput: shapes or dtypes differ, there are other axes or NaN or infinity, the seed exceeds
            the mask, or the footprint does not fit.

    Example:
        >>> reconstruct(np.array([[0, 3, 0, 0, 0]]), np.array([[5, 5, 2, 9, 9]])).tolist()
        [[3.0, 3.0, 2.0, 2.0, 2.0]]
    """
    seed = checked_image(seed, "seed of a reconstruction")
    mask = checked_image(mask, "mask of a reconstruction")
    if seed.shape != mask.shape or seed.dtype != mask.dtype:
        raise BadInput(
            "seed and mask of a reconstruction",
            expected="one shape and dtype",
            found=f"{seed.shape} {seed.dtype} and {mask.shape} {mask.dtype}",
        )
    reach = reach_of(footprint, seed.ndim)
    if (above := int((seed > mask).sum())) > 0:
        raise BadInput(
            "seed of a reconstruction",
            expected="nowhere above the mask",
            found=f"{above} pixels above it",
        )
    return _reconstruct(seed, mask, reach)


def reconstruct_tiles(
    read: Callable[[Box], tuple[np.ndarray, np.ndarray]],
    write: Callable[[Box, np.ndarray], None],
    grid: Grid,
    reach: Reach,
    shuffled: random.Random | None = None,
) -> int:
    """Reconstruct an image tile by tile; the result is that of the whole image.

    Each tile is reconstructed from its seed and from what its neighbours found along their rims, as
    wide as the footprint's radius; a rim that rose has its neighbours done again, until none rises.
    What is kept in memory is the rims.

    Args:
        read: gives seed and mask of a box; called from several threads.
        write: stores a tile's result; a tile may be written again; called from several threads.
        grid: the tiles.
        reach: the footprint.
        shuffled: draws which tiles of those to be done come next; `None` takes all.

    Returns:
        How many tiles were done again.
    """
    rims: dict[int, list[tuple[Box, np.ndarray]]] = {}

    def work(tile: int) -> list[tuple[Box, np.ndarray]]:
        box = grid.box(tile)
        outer = box.grown(reach.margins, grid.shape)
        seed, mask = read(outer)
        seed = seed.copy()
        for other in grid.overlapping(outer):
            for strip, values in rims.get(other, ()) if other != tile else ():
                common = strip.common(outer)
                if common:
                    target = seed[common.within(outer)]
                    np.maximum(target, values[common.within(strip)], out=target)
        found = _reconstruct(seed, mask, reach)[box.within(outer)]
        write(box, found)
        return [(strip, found[strip.within(box)].copy()) for strip in box.rim(*reach.margins)]

    waiting = set(range(len(grid)))
    done = 0
    while waiting:
        now = sorted(waiting)
        if shuffled:
            now = shuffled.sample(now, shuffled.randint(1, len(now)))
        done += len(now)
        waiting.difference_update(now)
        for tile, rim in zip(now, in_threads(work, now), strict=True):
            known = rims.get(tile)
            rims[tile] = rim
            rose = known is None or any(
                not np.array_equal(new, old) for (_, new), (_, old) in zip(rim, known, strict=True)
            )
            if rose:
                box = grid.box(tile)
                around = box.grown(max(*reach.margins, 1), grid.shape)
                waiting.update(other for other in grid.overlapping(around) if other != tile)
    return done - len(grid)


def h_maxima_tiles(
    read: Callable[[Box], np.ndarray],
    write: Callable[[Box, np.ndarray], None],
    grid: Grid,
    h: float,
    footprint: np.ndarray | None = None,
    halo: int = 64,
    shuffled: random.Random | None = None,
) -> int:
    """Find the h-maxima of an image tile by tile; they are those of the whole image.

    A tile and its halo tell of nearly every pixel. Only if floods left a halo undecided is the
    image reconstructed, by tiles too, and the reconstruction asked about those pixels.

    Args:
        read: gives the pixels of a box, `(Y, X)`, float32 or float64, finite; called from several
            threads.
        write: stores the mask of a tile; called from several threads.
        grid: the tiles.
        h: see `h_maxima`.
        footprint: see `h_maxima`.
        halo: in pixels.
        shuffled: see `reconstruct_tiles`.

    Returns:
        How many tiles were done again, 0 if halos sufficed.

    Raises:
        BadInput: see `h_maxima`.
    """
    reach = reach_of(footprint, 2)
    tiles = range(len(grid))
    dtype = read(grid.box(0)).dtype if len(grid) else np.dtype(np.float32)
    heights = joined_heights(lambda tile: read(grid.box(tile)), tiles, h, dtype)

    def certain(tile: int) -> tuple[np.ndarray, np.ndarray]:
        box = grid.box(tile)
        if heights is None:
            found, undecided = np.zeros(box.shape, bool), np.zeros((0, 2), np.int64)
        else:
            window = box.grown(max(halo, *reach.margins), grid.shape)
            found, undecided = maxima_in_window(
                read(window), window, box, grid.shape, reach, heights
            )
        write(box, found)
        # The mask of a tile is kept as places until all of it is known.
        return np.argwhere(found) if len(undecided) else undecided, undecided

    known = dict(zip(tiles, in_threads(certain, tiles), strict=True))
    if heights is None or not any(len(undecided) for _, undecided in known.values()):
        return 0

    def seed_and_mask(box: Box) -> tuple[np.ndarray, np.ndarray]:
        image = read(box)
        return (image - heights.h) - heights.resolution * np.abs(image), image

    def decide(box: Box, level: np.ndarray) -> None:
        tile = grid.overlapping(box)[0]
        places, undecided = known[tile]
        if not len(undecided):
            return
        y, x = (undecided - np.array([box.y0, box.x0])).T
        found = np.zeros(box.shape, bool)
        found[tuple(places.T)] = True
        found[y, x] = read(box)[y, x] - level[y, x] >= heights.h
        write(box, found)

    return reconstruct_tiles(seed_and_mask, decide, grid, reach, shuffled)


def _reconstruct(seed: np.ndarray, mask: np.ndarray, reach: Reach) -> np.ndarray:
    shape = tuple(side + 2 * margin for side, margin in zip(seed.shape, reach.margins, strict=True))
    inner = tuple(
        slice(margin, margin + side) for side, margin in zip(seed.shape, reach.margins, strict=True)
    )
    level, ceiling = np.full(shape, -np.inf, seed.dtype), np.full(shape, -np.inf, seed.dtype)
    level[inner], ceiling[inner] = seed, mask
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    offsets = (reach.steps * strides).sum(axis=1)
    inside = np.flatnonzero(_mask_of(shape, inner))
    _rise(
        level.reshape(-1), ceiling.reshape(-1), inside, offsets[offsets < 0], offsets[offsets > 0]
    )
    return level[inner]


def _mask_of(shape: tuple[int, ...], inner: tuple[slice, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[inner] = True
    return mask


@kernel
def _rise(level, ceiling, inside, before, after):  # type: ignore[no-untyped-def]
    for place in inside:
        value = level[place]
        for k in range(len(before)):
            value = max(value, level[place + before[k]])
        level[place] = min(value, ceiling[place])
    # A ring: no pixel waits in it twice.
    size = len(inside) + 1
    queue = np.empty(size, np.int64)
    waits = np.zeros(len(level), np.bool_)
    head, end = 0, 0
    for i in range(len(inside) - 1, -1, -1):
        place = inside[i]
        value = level[place]
        for k in range(len(after)):
            value = max(value, level[place + after[k]])
        value = min(value, ceiling[place])
        level[place] = value
        spreads = False
        for steps in (before, after):
            for k in range(len(steps)):
                other = place - steps[k]
                if level[other] < value and level[other] < ceiling[other]:
                    spreads = True
                    break
        if spreads:
            queue[end] = place
            waits[place] = True
            end += 1
    while head != end:
        place = queue[head]
        head = head + 1 if head + 1 < size else 0
        waits[place] = False
        value = level[place]
        for steps in (before, after):
            for k in range(len(steps)):
                other = place - steps[k]
                if level[other] < value and level[other] < ceiling[other]:
                    level[other] = min(value, ceiling[other])
                    if not waits[other]:
                        waits[other] = True
                        queue[end] = other
                        end = end + 1 if end + 1 < size else 0
