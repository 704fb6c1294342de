"""Kernels of `hmaxima`: on flat arrays with a border of -∞ as wide as the footprint's radius."""

from __future__ import annotations

import heapq

import numpy as np

from cellmill.compiled import inlined, kernel

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


@kernel
def decide(  # type: ignore[no-untyped-def]
    values,
    owners,
    plane,
    pixels,
    places,
    offsets,
    steps,
    faces,
    monotone,
    symmetric,
    h,
    resolution,
    lowest,
    highest,
    budget,
):
    """Flood from each place, in order of value from the highest.

    A flood that does not end soon is spared by a walk to the nearest higher place, if that gets
    anywhere: in noise little else is as high, and a flood would cover much of the image. One that
    has taken as many pixels as the budget has leaves its place open.


    A flood is stamped with its number. One that meets an earlier one is joined to all which that
    one saw: mostly a pixel that ends it. Where not, the earlier flood went as far as it could and
    is taken over, to go on from its border at the lower level. So hardly a pixel is flooded twice,
    however noisy the image.
    """
    no, yes, left_open = np.uint8(NO), np.uint8(YES), np.uint8(OPEN)
    answers = np.empty(len(places), np.uint8)
    seen = np.empty(len(places), values.dtype)
    into = np.arange(len(places) + 1)
    pending: np.ndarray = np.empty(256, np.int64)
    # Border of a flood: its pixels with neighbours that it left out, and the highest of those.
    border: np.ndarray = np.empty(256, np.int64)
    beyond: np.ndarray = np.empty(256, values.dtype)
    complete, complete_size = 0, 0
    new_border: np.ndarray = np.empty(256, np.int64)
    new_beyond: np.ndarray = np.empty(256, values.dtype)
    for i in range(len(places)):
        start = places[i]
        value = values[start]
        if value - highest >= h:
            # Nothing in the whole image speaks against it.
            answers[i] = yes
            continue
        if monotone and value - lowest < h:
            answers[i] = no
            continue
        stamp = i + 1
        earlier = owners[start]
        if symmetric and earlier > 0 and values[places[earlier - 1]] == value:
            answers[i] = answers[earlier - 1]
            seen[i] = seen[earlier - 1]
            into[stamp] = into[earlier]
            continue
        answer = yes
        highest_seen = _lowered(value, h, resolution)
        owners[start] = stamp
        pending[0] = start
        count = 1
        size = 0
        taken = 0
        while count and answer != no and taken < budget:
            if taken == _PATIENCE and len(plane):
                others = pixels[max(i - _MOST_HIGHER, 0) : i]
                goal = nearest_higher(plane, pixels[i], others)
                if goal >= 0:
                    low = walk(plane, pixels[i], others[goal], steps, h, resolution)
                    highest_seen = max(highest_seen, low)
                    if value - low < h:
                        answer = no
                        break
            taken += 1
            count -= 1
            place = pending[count]
            inside = monotone
            left_out = lowest
            for k in range(len(offsets)):
                if k == faces and inside:
                    break
                other = place + offsets[k]
                if value - values[other] >= h:
                    inside = False
                    left_out = max(left_out, values[other])
                    continue
                owner = np.int64(owners[other])
                if owner > 0:
                    while into[owner] != owner:
                        into[owner] = into[into[owner]]
                        owner = into[owner]
                if owner == stamp:
                    continue
                highest_seen = max(highest_seen, _lowered(values[other], h, resolution))
                if symmetric and owner > 0 and seen[owner - 1] > highest_seen:
                    highest_seen = seen[owner - 1]
                if value - highest_seen < h:
                    answer = no
                    break
                if owner < 0:
                    answer = left_open
                    continue
                if symmetric and owner > 0 and owner == complete:
                    complete = 0
                    into[owner] = stamp
                    if answers[owner - 1] == left_open:
                        answer = left_open
                    while count + complete_size > len(pending):
                        pending = np.concatenate((pending, np.empty_like(pending)))
                    while size + complete_size > len(new_border):
                        new_border = np.concatenate((new_border, np.empty_like(new_border)))
                        new_beyond = np.concatenate((new_beyond, np.empty_like(new_beyond)))
                    for j in range(complete_size):
                        if value - beyond[j] < h:
                            pending[count] = border[j]
                            count += 1
                        else:
                            new_border[size] = border[j]
                            new_beyond[size] = beyond[j]
                            size += 1
                    continue
                owners[other] = stamp
                if count == len(pending):
                    pending = np.concatenate((pending, np.empty_like(pending)))
                pending[count] = other
                count += 1
            if not inside:
                if size == len(new_border):
                    new_border = np.concatenate((new_border, np.empty_like(new_border)))
                    new_beyond = np.concatenate((new_beyond, np.empty_like(new_beyond)))
                new_border[size] = place
                new_beyond[size] = left_out
                size += 1
        if count and answer != no:
            # Given up: another flood may not go on from its border.
            answers[i] = left_open
            seen[i] = highest_seen
            continue
        answers[i] = answer
        seen[i] = highest_seen
        if answer != no:
            border, new_border = new_border, border
            beyond, new_beyond = new_beyond, beyond
            complete, complete_size = stamp, size
    return answers
