"""Objects from where walks end: peaks of their histogram, grown to the pixels around them."""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel

#: A seed has more ends than any other pixel within this distance, and more than so many.
_APART, _LEAST = 2, 10
#: How often a seed is grown by a pixel, over pixels of more ends than this.
GROWN, _MEMBER = 5, 2
#: How far a pixel's object depends on the histogram.
REACH = GROWN + _APART


def count_ends(ends: np.ndarray, counts: np.ndarray) -> None:
    """Count how many walks ended in each pixel.

    Args:
        ends: integers, places in the image laid flat; below 0 is none.
        counts: int32 `(Y, X)` or `(Z, Y, X)` of the image, added to.
    """
    _count(ends.reshape(-1), counts.reshape(-1))


def find_seeds(counts: np.ndarray) -> np.ndarray:
    """Find the pixels in which more walks end than around them.

    Args:
        counts: int32 `(Y, X)` or `(Z, Y, X)`.

    Returns:
        Their places in the image laid flat, int64, by count and then in raster order: where seeds
        compete for a pixel, the last one has it.
    """
    places = _peaks(_planes(counts))
    return places[np.argsort(counts.reshape(-1)[places], kind="stable")]


def grow(counts: np.ndarray, seeds: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Give the pixels around seeds to them, five times those next to what they have.

    Args:
        counts: int32 `(Y, X)` or `(Z, Y, X)`.
        seeds: places, the stronger last; see `find_seeds`.
        ids: of the seeds, above 0.

    Returns:
        Of the same shape and the ids' dtype, 0 where no seed has a pixel.
    """
    owners = np.zeros(counts.shape, ids.dtype)
    _grow(_planes(counts), seeds, ids, _planes(owners))
    return owners


def _planes(array: np.ndarray) -> np.ndarray:
    """As `(Z, Y, X)`: an image is a volume of one plane."""
    return array.reshape(-1, *array.shape[-2:])


@kernel
def _count(ends, counts):  # type: ignore[no-untyped-def]
    for end in ends:
        if end >= 0:
            counts[end] += 1


@kernel
def _peaks(counts):  # type: ignore[no-untyped-def]
    depth, height, width = counts.shape
    found = np.empty(1024, np.int64)
    n = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if counts[z, y, x] > _LEAST and _is_peak(counts, z, y, x):
                    if n == len(found):
                        more = np.empty(2 * n, np.int64)
                        more[:n] = found
                        found = more
                    found[n] = (z * height + y) * width + x
                    n += 1
    return found[:n].copy()


@kernel
def _is_peak(counts, z, y, x):  # type: ignore[no-untyped-def]
    depth, height, width = counts.shape
    here = counts[z, y, x]
    for w in range(max(z - _APART, 0), min(z + _APART + 1, depth)):
        for v in range(max(y - _APART, 0), min(y + _APART + 1, height)):
            for u in range(max(x - _APART, 0), min(x + _APART + 1, width)):
                if counts[w, v, u] > here:
                    return False
    return True


@kernel
def _grow(counts, seeds, ids, owners):  # type: ignore[no-untyped-def]
    depth, height, width = counts.shape
    side = 2 * GROWN + 1
    deep = min(side, 2 * depth - 1)
    middle = deep // 2
    seen = np.zeros((deep, side, side), np.bool_)
    places = np.empty((deep * side * side, 3), np.int64)
    for k in range(len(seeds)):
        row, x0 = divmod(seeds[k], width)
        z0, y0 = divmod(row, height)
        seen[:] = False
        seen[middle, GROWN, GROWN] = True
        places[0, 0], places[0, 1], places[0, 2] = z0, y0, x0
        begin, end = 0, 1
        for _ in range(GROWN):
            stop = end
            for i in range(begin, stop):
                w, v, u = places[i]
                for z in range(max(w - 1, 0), min(w + 2, depth)):
                    for y in range(max(v - 1, 0), min(v + 2, height)):
                        for x in range(max(u - 1, 0), min(u + 2, width)):
                            at = z - z0 + middle, y - y0 + GROWN, x - x0 + GROWN
                            if counts[z, y, x] > _MEMBER and not seen[at]:
                                seen[at] = True
                                places[end, 0], places[end, 1], places[end, 2] = z, y, x
                                end += 1
            begin = stop
        for i in range(end):
            owners[places[i, 0], places[i, 1], places[i, 2]] = ids[k]
