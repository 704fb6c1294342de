"""Watershed in scikit-image's own order, ties included: one heap over the whole image.

Pixels leave the heap by level, then by age (when they entered it). All marker pixels have age 0, so
equal markers are ordered by where they happen to lie in the binary heap; the heap here makes the
same moves (entering at the end and rising; the last taking the place of the first and sinking to
the smaller child). Source: P. Soille and M. Ansoult, Signal Processing 20 (1990); scikit-image
0.25.2's behaviour.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import inlined, kernel


def flood_by_age(levels: np.ndarray, labels: np.ndarray, neighbours: np.ndarray) -> None:
    """Give every pixel that a flood reaches the label of the pixel from which it is reached first.

    Args:
        levels: flat, uint32; the lowest are flooded first.
        labels: flat, int32; markers hold theirs, -1 is outside the mask, 0 is to be flooded. The
            outermost pixels are -1. It is written to.
        neighbours: int64 offsets in the flat arrays, in the order in which they are visited.
    """
    count = int(np.count_nonzero(labels >= 0))
    _flood(levels, labels, neighbours, np.empty(count, np.uint64), np.empty(count, np.int64))


@inlined
def _enter(keys, pixels, count, key, pixel):  # type: ignore[no-untyped-def]
    hole = count
    while hole > 0:
        parent = (hole - 1) >> 1
        if key >= keys[parent]:
            break
        keys[hole] = keys[parent]
        pixels[hole] = pixels[parent]
        hole = parent
    keys[hole] = key
    pixels[hole] = pixel


@inlined
def _sink_last(keys, pixels, count):  # type: ignore[no-untyped-def]
    """Move the item behind the last of `count` to the top and let it sink."""
    key, pixel = keys[count], pixels[count]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= count:
            break
        if child + 1 < count and keys[child + 1] < keys[child]:
            # The right child is taken only where it is smaller than the left and than the item.
            if keys[child + 1] >= key:
                break
            child += 1
        elif keys[child] >= key:
            break
        keys[hole] = keys[child]
        pixels[hole] = pixels[child]
        hole = child
    keys[hole] = key
    pixels[hole] = pixel


@kernel
def _flood(levels, labels, neighbours, keys, pixels):  # type: ignore[no-untyped-def]
    age = np.uint64(1)
    waiting = 0
    for p in range(len(labels)):
        if labels[p] > 0:
            _enter(keys, pixels, waiting, np.uint64(levels[p]) << np.uint64(32), p)
            waiting += 1
    while waiting > 0:
        level = np.uint32(keys[0] >> np.uint64(32))
        p = pixels[0]
        waiting -= 1
        if waiting:
            _sink_last(keys, pixels, waiting)
        for k in range(len(neighbours)):
            q = p + neighbours[k]
            if labels[q] == 0:
                age += np.uint64(1)
                labels[q] = labels[p]
                key = np.uint64(max(levels[q], level)) << np.uint64(32) | age
                _enter(keys, pixels, waiting, key, q)
                waiting += 1
