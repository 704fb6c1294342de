"""Kernels of `hmaxima`: on flat arrays with a border of -∞ as wide as the footprint's radius."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from cellmill.compute.kernels import inlined, kernel

#: Answers: no h-maximum, one, or one unless pixels beyond the window speak against it.
NO, YES, OPEN = 0, 1, 2

#: Pixels that a flood takes before a walk is tried.
_PATIENCE = 32
#: Of so many pixels a walk's goal is chosen.
_MOST_HIGHER = 4096
#: A walk keeps so near to the straight way, and takes no more steps and pixels than these.
_AROUND, _LONGEST_WALK, _LARGEST_WALK = 32, 1 << 14, 1 << 22
_LANES = 256


@inlined
def _lowered(value, h, resolution):  # type: ignore[no-untyped-def]
    return (value - h) - resolution * abs(value)


@kernel
def extremes_of(rows, h, resolution):  # type: ignore[no-untyped-def]
    """Least and greatest value, and the greatest lowered one."""
    lowest = np.full(_LANES, rows[0, 0])
    highest = np.full(_LANES, rows[0, 0])
    lowered = np.full(_LANES, _lowered(rows[0, 0], h, resolution))
    for y in range(rows.shape[0]):
        for start in range(0, rows.shape[1], _LANES):
            part = rows[y, start : start + _LANES]
            for x in range(len(part)):
                value = part[x]
                low = _lowered(value, h, resolution)
                lowest[x] = min(value, lowest[x])
                highest[x] = max(value, highest[x])
                lowered[x] = max(low, lowered[x])
    return lowest.min(), highest.max(), lowered.max()


@kernel
def lay_out(image, above, before, values):  # type: ignore[no-untyped-def]
    """Copy a plane into one with a border."""
    height, width = image.shape
    values[:above] = -np.inf
    values[above + height :] = -np.inf
    for y in range(height):
        row = values[above + y]
        row[:before] = -np.inf
        row[before + width :] = -np.inf
        row[before : before + width] = image[y]


@kernel
def candidates(  # type: ignore[no-untyped-def]
    values, starts, width, offsets, near, monotone, h, resolution, lowest, highest, slack
):
    """Places that no pixel of their footprint rules out."""
    found: np.ndarray = np.empty(1024, np.int64)
    count = 0
    best = np.empty(width, values.dtype)
    maybe = np.zeros((width + 7) // 8 * 8, np.uint8)
    words = maybe.view(np.uint64)
    for start in starts:
        # Slices, because an index that may be negative keeps the compiler from using vectors.
        own = values[start : start + width]
        best[:] = own
        for k in range(near):
            place = start + offsets[k]
            others = values[place : place + width]
            for x in range(width):
                best[x] = max(best[x], others[x])
        for x in range(width):
            apart = (own[x] - lowest >= h) | (own[x] - highest >= h) | (not monotone)
            maybe[x] = (best[x] - own[x] <= slack) & apart
        for word in range(len(words)):
            if not words[word]:
                continue
            for x in range(8 * word, 8 * word + 8):
                if not maybe[x]:
                    continue
                place = start + x
                value = values[place]
                ruled_out = value - _lowered(value, h, resolution) < h
                # All pixels are above v - h: the whole image is one flood.
                alone = monotone and value - lowest < h
                for k in range(near if alone else len(offsets)):
                    if ruled_out:
                        break
                    ruled_out = value - _lowered(values[place + offsets[k]], h, resolution) < h
                if ruled_out or (alone and value - highest < h):
                    continue
                if count == len(found):
                    found = np.concatenate((found, np.empty(count, np.int64)))
                found[count] = place
                count += 1
    return found[:count]


@kernel
def walk(plane, start, end, steps, h, resolution):  # type: ignore[no-untyped-def]
    """Go from a pixel towards another, over pixels above v - h: does one that rules it out show?

    The next step is from the pixel nearest to the end of those that were reached, and the walk
    keeps to the surroundings of the straight way.

    Args:
        plane: `(Y, X)`.
        start: y and x of the pixel.
        end: of the other, higher one.
        steps: `(n, 2)`.
        h: the height.
        resolution: see `Heights`.

    Returns:
        The lowered value of the pixel that rules it out, -∞ if the walk led to none.
    """
    top, bottom = max(min(start[0], end[0]) - _AROUND, 0), max(start[0], end[0]) + _AROUND
    left, right = max(min(start[1], end[1]) - _AROUND, 0), max(start[1], end[1]) + _AROUND
    around = plane[top:bottom, left:right]
    height, width = around.shape
    value = plane[start[0], start[1]]
    if height * width > _LARGEST_WALK:
        return plane.dtype.type(-np.inf)
    seen = np.zeros((height, width), np.bool_)
    waiting = [(start[0] - top) * width + start[1] - left]
    for _ in range(_LONGEST_WALK):
        if not waiting:
            break
        y, x = divmod(heapq.heappop(waiting) & 0x7FFFFFFF, width)
        for k in range(len(steps)):
            v, u = y + steps[k, 0], x + steps[k, 1]
            if not (0 <= v < height and 0 <= u < width) or seen[v, u]:
                continue
            if value - around[v, u] >= h:
                continue
            low = _lowered(around[v, u], h, resolution)
            if value - low < h:
                return low
            seen[v, u] = True
            distance = (v + top - end[0]) ** 2 + (u + left - end[1]) ** 2
            heapq.heappush(waiting, distance << 31 | (v * width + u))
    return plane.dtype.type(-np.inf)


@kernel
def nearest_higher(plane, pixel, others):  # type: ignore[no-untyped-def]
    """Which of other pixels `(n, 2)` is the nearest with a greater value; -1 if none has."""
    best, least = -1, np.int64(0)
    for i in range(len(others)):
        distance = (others[i, 0] - pixel[0]) ** 2 + (others[i, 1] - pixel[1]) ** 2
        nearer = best < 0 or distance < least
        if nearer and plane[others[i, 0], others[i, 1]] > plane[pixel[0], pixel[1]]:
            best, least = i, distance
    return best


class Ground(NamedTuple):
    """What is flooded, and how a flood goes on from a pixel.

    Attributes:
        values: the image laid flat, with a border of -∞.
        owners: the number of the flood that took each pixel; 0 for none, -1 beyond the window.
        offsets: to a pixel's neighbours, those to face neighbours first.
        faces: how many are face neighbours.
        monotone: see `Reach`.
        symmetric: see `Reach`.
    """

    values: np.ndarray
    owners: np.ndarray
    offsets: np.ndarray
    faces: int
    monotone: bool
    symmetric: bool


class Walks(NamedTuple):
    """What walks need.

    Attributes:
        plane: the image `(Y, X)`; of no rows where nothing walks.
        pixels: the places as y and x.
        steps: see `Reach.walk`.
    """

    plane: np.ndarray
    pixels: np.ndarray
    steps: np.ndarray


@kernel
def decide(ground, walks, heights, places, budget):  # type: ignore[no-untyped-def]
    """Flood from each place, in order of value from the highest.

    A flood that does not end soon is spared by a walk to the nearest higher place, if that gets
    anywhere: in noise little else is as high, and a flood would cover much of the image. One that
    has taken as many pixels as the budget has leaves its place open.

    A flood is stamped with its number. One that meets an earlier one is joined to all which that
    one saw: mostly a pixel that ends it. Where not, the earlier flood went as far as it could and
    is taken over, to go on from its border at the lower level. So hardly a pixel is flooded twice,
    however noisy the image.

    This is one loop on purpose: numba counts the references to arrays at each call, compiled in or
    not, and one call a flood takes up to half of the time again.

    Args:
        ground: what is flooded; its owners, 0 or -1 before, are written.
        walks: what walks need.
        heights: see `Heights`.
        places: where floods start, in order of value from the highest.
        budget: pixels that a flood may take.

    Returns:
        `NO`, `YES` or `OPEN` for each place, uint8.
    """
    values, owners, offsets, faces, monotone, symmetric = ground
    h, resolution = heights.h, heights.resolution
    answers = np.empty(len(places), np.uint8)
    first, end = _answer_at_once(values, places, monotone, heights, answers)
    # Of each flood: the highest lowered value that it met, and the flood that it was joined to.
    seen = np.empty(len(places), values.dtype)
    into = np.arange(len(places) + 1)
    pending: np.ndarray = np.empty(256, np.int64)
    # A flood's border: pixels with neighbours that it left out, and the highest of those.
    border, beyond = np.empty(256, np.int64), np.empty(256, values.dtype)
    # That of the last flood that went as far as it could, while none has taken it over.
    complete, complete_size = 0, 0
    last_border, last_beyond = np.empty(256, np.int64), np.empty(256, values.dtype)
    for i in range(first, end):
        value, stamp = values[places[i]], i + 1
        earlier = owners[places[i]]
        if symmetric and earlier > 0 and values[places[earlier - 1]] == value:
            answers[i], seen[i] = answers[earlier - 1], seen[earlier - 1]
            into[stamp] = into[earlier]
            continue
        answer, highest_seen = np.uint8(YES), _lowered(value, h, resolution)
        owners[places[i]] = stamp
        pending[0] = places[i]
        count, size, taken = 1, 0, 0
        while count and taken < budget and value - highest_seen >= h:
            if taken == _PATIENCE and len(walks.plane):
                highest_seen = max(highest_seen, _walk_to_a_higher_one(walks, i, h, resolution))
                if value - highest_seen < h:
                    break
            taken += 1
            count -= 1
            place, inside, left_out = pending[count], monotone, heights.lowest
            for k in range(len(offsets)):
                if k == faces and inside:
                    break
                other = place + offsets[k]
                if value - values[other] >= h:
                    inside, left_out = False, max(left_out, values[other])
                    continue
                owner = np.int64(owners[other])
                while owner > 0 and into[owner] != owner:
                    into[owner] = into[into[owner]]
                    owner = into[owner]
                if owner == stamp:
                    continue
                highest_seen = max(highest_seen, _lowered(values[other], h, resolution))
                if symmetric and owner > 0:
                    highest_seen = max(highest_seen, seen[owner - 1])
                if value - highest_seen < h:
                    break
                if owner < 0:
                    answer = np.uint8(OPEN)
                elif symmetric and owner > 0 and owner == complete:
                    complete, into[owner] = 0, stamp
                    answer = max(answer, answers[owner - 1])
                    pending, count, border, beyond, size = _take_over(
                        last_border[:complete_size],
                        last_beyond,
                        value,
                        h,
                        pending,
                        count,
                        border,
                        beyond,
                        size,
                    )
                else:
                    owners[other] = stamp
                    if count == len(pending):
                        pending = _doubled(pending)
                    pending[count] = other
                    count += 1
            if not inside:
                if size == len(border):
                    border, beyond = _doubled(border), _doubled(beyond)
                border[size], beyond[size] = place, left_out
                size += 1
        seen[i] = highest_seen
        if value - highest_seen < h:
            answers[i] = NO
        elif count:
            # Given up: another flood may not go on from its border.
            answers[i] = OPEN
        else:
            answers[i] = answer
            border, last_border = last_border, border
            beyond, last_beyond = last_beyond, beyond
            complete, complete_size = stamp, size
    return answers


@kernel
def _answer_at_once(values, places, monotone, heights, answers):  # type: ignore[no-untyped-def]
    """Answer the first places, which nothing in the image rules out, and the last, which all does.

    Returns:
        From which place on floods decide, and up to which.
    """
    first, end = 0, len(places)
    while first < end and values[places[first]] - heights.highest >= heights.h:
        answers[first] = YES
        first += 1
    while monotone and end > first and values[places[end - 1]] - heights.lowest < heights.h:
        end -= 1
        answers[end] = NO
    return first, end


@kernel
def _walk_to_a_higher_one(walks, i, h, resolution):  # type: ignore[no-untyped-def]
    """See `walk`: from a place to the nearest higher one of those before it."""
    others = walks.pixels[max(i - _MOST_HIGHER, 0) : i]
    goal = nearest_higher(walks.plane, walks.pixels[i], others)
    if goal < 0:
        return walks.plane.dtype.type(-np.inf)
    return walk(walks.plane, walks.pixels[i], others[goal], walks.steps, h, resolution)


@kernel
def _take_over(  # type: ignore[no-untyped-def]
    last_border, last_beyond, value, h, pending, count, border, beyond, size
):
    """Go on from an earlier flood's border where its neighbours are high enough; keep the rest."""
    while count + len(last_border) > len(pending):
        pending = _doubled(pending)
    while size + len(last_border) > len(border):
        border, beyond = _doubled(border), _doubled(beyond)
    for j in range(len(last_border)):
        if value - last_beyond[j] < h:
            pending[count] = last_border[j]
            count += 1
        else:
            border[size], beyond[size] = last_border[j], last_beyond[j]
            size += 1
    return pending, count, border, beyond, size


@kernel
def _doubled(array):  # type: ignore[no-untyped-def]
    return np.concatenate((array, np.empty_like(array)))
