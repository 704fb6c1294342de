"""Watershed by a rule that knows no order of work, so that any tiling gives the same labels.

Every flooded pixel has a key K = (C, d, L): the level C of the flood that reached it, its steps d
along that level, and the label L. A marker has (own level, 0, its id). A pixel takes the label of
its neighbour with the least key: stepping from (C, d, L) to a pixel of level v gives (v, 1, L) if
v > C and (C, d + 2, L) otherwise. (C, d) grows along every path, so there is one solution.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import inlined, kernel

#: Of the key (C, d) packed in 64 bits, the bits of d.
STEP_BITS = 32


def flood_by_key(
    levels: np.ndarray,
    labels: np.ndarray,
    keys: np.ndarray,
    neighbours: np.ndarray,
    sources: np.ndarray,
    spare: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Give every pixel that a flood reaches its label and key.

    Args:
        levels: flat, uint32, more than 0; the lowest are flooded first.
        labels: flat, int32; markers hold their ids, -1 is outside the mask, 0 is to be flooded. The
            outermost pixels are -1. It is written to, except at sources.
        keys: flat, uint64, 0 but for sources. Written are those of markers and of pixels with
            d ≥ 2: C in the upper half, d in the lower. `key_of` gives the others.
        neighbours: int64 offsets in the flat arrays; their order does not matter.
        sources: pixels that are flooded already, with `keys` and labels `-1 - id`, in order of key
            and id: what a neighbouring tile found at its rim.
        spare: two uint64 arrays as long as `labels`, to work in.
    """
    order, other = spare or (np.empty(len(labels), np.uint64), np.empty(len(labels), np.uint64))
    count, swapped = _by_level(levels, labels, order, other)
    if swapped:
        order, other = other, order
    _flood(levels, labels, keys, neighbours, sources, order[:count], other.view(np.int64))


def key_of(levels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Keys of flooded pixels: those written, else (own level, 1)."""
    own = levels.astype(np.uint64) << np.uint64(STEP_BITS) | np.uint64(1)
    return np.where(keys == 0, own, keys)


@kernel
def _by_level(levels, labels, order, spare):  # type: ignore[no-untyped-def]
    """Sort the pixels of the mask by level (stable radix sort); level << 32 | pixel, in `order`.

    Returns how many there are, and whether they lie in `spare` instead.
    """
    count = 0
    lowest, highest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for p in range(len(labels)):
        if labels[p] >= 0:
            level = levels[p]
            order[count] = np.uint64(level) << np.uint64(32) | np.uint64(p)
            lowest, highest = min(lowest, level), max(highest, level)
            count += 1
    if count < 2:
        return count, False
    bits = 0
    while bits < 32 and (highest - lowest) >> np.uint32(bits):
        bits += 1
    passes = (bits + 10) // 11
    if not passes:
        return count, False
    digit = (bits + passes - 1) // passes
    size = 1 << digit
    starts = np.zeros((passes, size), np.int64)
    low, mask = np.uint64(lowest), np.uint64(size - 1)
    for i in range(count):
        value = (order[i] >> np.uint64(32)) - low
        for k in range(passes):
            starts[k, (value >> np.uint64(k * digit)) & mask] += 1
    for k in range(passes):
        total = 0
        for j in range(size):
            here = starts[k, j]
            starts[k, j] = total
            total += here
    for k in range(passes):
        shift = np.uint64(k * digit)
        source, target = (order, spare) if k % 2 == 0 else (spare, order)
        for i in range(count):
            item = source[i]
            j = (((item >> np.uint64(32)) - low) >> shift) & mask
            target[starts[k, j]] = item
            starts[k, j] += 1
    return count, passes % 2 == 1


@inlined
def _spread(p, owner, level, steps, levels, labels, keys, neighbours, queue, end):  # type: ignore[no-untyped-def]
    """Reach the neighbours of a pixel; those at or below its level join the queue."""
    for k in range(len(neighbours)):
        q = p + neighbours[k]
        if labels[q] == 0:
            labels[q] = owner
            if levels[q] <= level:
                keys[q] = np.uint64(level) << np.uint64(32) | (steps + np.uint64(2))
                queue[end] = q
                end += 1
    return end


@kernel
def _flood(levels, labels, keys, neighbours, sources, order, queue):  # type: ignore[no-untyped-def]
    low_half = np.uint64(0xFFFFFFFF)
    for i in range(len(order)):
        p = np.int64(order[i] & low_half)
        if labels[p] > 0:
            keys[p] = order[i] - np.uint64(p)
    place = 0
    given = 0
    source_level = np.uint64(0xFFFFFFFFFFFFFFFF)
    if len(sources):
        source_level = keys[sources[0]] >> np.uint64(32)
    while place < len(order) or given < len(sources):
        wide_level = source_level
        if place < len(order):
            wide_level = min(wide_level, order[place] >> np.uint64(32))
        level = np.uint32(wide_level)
        stop = place
        while stop < len(order) and order[stop] >> np.uint64(32) == wide_level:
            stop += 1
        if stop == place + 1 and source_level != wide_level:
            # One pixel has this level: no other pixel decides its label.
            p = np.int64(order[place] & low_half)
            place = stop
            owner = labels[p]
            if owner > 0:
                steps = np.uint64(1) if keys[p] == 0 else np.uint64(0)
                end = _spread(p, owner, level, steps, levels, labels, keys, neighbours, queue, 0)
                head = 0
                while head < end:
                    p = queue[head]
                    head += 1
                    steps = keys[p] & low_half
                    end = _spread(
                        p, labels[p], level, steps, levels, labels, keys, neighbours, queue, end
                    )
            continue
        given = _flood_level(
            level, levels, labels, keys, neighbours, sources, given, order[place:stop], queue
        )
        place = stop
        source_level = np.uint64(0xFFFFFFFFFFFFFFFF)
        if given < len(sources):
            source_level = keys[sources[given]] >> np.uint64(32)


@kernel
def _flood_level(level, levels, labels, keys, neighbours, sources, given, here, queue):  # type: ignore[no-untyped-def]
    """Flood from all pixels of one level, in order of (d, L); gives the first source left."""
    low_half = np.uint64(0xFFFFFFFF)
    ready = 0
    tied = np.empty(len(here), np.int64)
    rank = np.empty(len(here), np.uint64)
    for i in range(len(here)):
        p = np.int64(here[i] & low_half)
        if labels[p] > 0:
            steps = np.uint64(1) if keys[p] == 0 else np.uint64(0)
            tied[ready] = p
            rank[ready] = steps << np.uint64(32) | np.uint64(labels[p])
            ready += 1
    if ready > 1:
        _sort_by_rank(tied, rank, ready)
    # Three sorted runs are merged: the ready ones, those flooded along this level, the sources.
    head, end, taken = 0, 0, 0
    while True:
        best = np.uint64(0xFFFFFFFFFFFFFFFF)
        run = 0
        if taken < ready:
            best, run = rank[taken], 1
        elif head < end:
            p = queue[head]
            best = (keys[p] & low_half) << np.uint64(32) | np.uint64(labels[p])
            run = 2
        if given < len(sources):
            p = sources[given]
            if np.uint32(keys[p] >> np.uint64(32)) == level:
                mine = (keys[p] & low_half) << np.uint64(32) | np.uint64(-1 - labels[p])
                if mine < best:
                    best, run = mine, 3
        if run == 0:
            return given
        if run == 1:
            p = tied[taken]
            taken += 1
        elif run == 2:
            p = queue[head]
            head += 1
        else:
            p = sources[given]
            given += 1
        owner = np.int32(best & low_half)
        steps = best >> np.uint64(32)
        end = _spread(p, owner, level, steps, levels, labels, keys, neighbours, queue, end)


@kernel
def _sort_by_rank(tied, rank, count):  # type: ignore[no-untyped-def]
    """Sort both by rank: in place if few, else by way of `argsort`."""
    if count > 24:
        order = np.argsort(rank[:count], kind="mergesort")
        moved, ranked = tied[:count][order], rank[:count][order]
        tied[:count] = moved
        rank[:count] = ranked
        return
    for i in range(1, count):
        p, key = tied[i], rank[i]
        j = i - 1
        while j >= 0 and rank[j] > key:
            tied[j + 1] = tied[j]
            rank[j + 1] = rank[j]
            j -= 1
        tied[j + 1] = p
        rank[j + 1] = key
