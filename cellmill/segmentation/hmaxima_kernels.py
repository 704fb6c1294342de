"""Kernels of `hmaxima`: on flat arrays with a border of -∞ as wide as the footprint's radius."""

from __future__ import annotations

import numpy as np

from cellmill.compiled import kernel

#: Answers: no h-maximum, one, or one unless pixels beyond the window speak against it.
NO, YES, OPEN = 0, 1, 2


@kernel
def extremes_of(rows, h, resolution):  # type: ignore[no-untyped-def]
    """Least and greatest value, and the greatest lowered one."""
    lowest = highest = rows[0, 0]
    lowered = (lowest - h) - resolution * abs(lowest)
    for y in range(rows.shape[0]):
        for x in range(rows.shape[1]):
            value = rows[y, x]
            low = (value - h) - resolution * abs(value)
            lowest = value if value < lowest else lowest
            highest = value if value > highest else highest
            lowered = low if low > lowered else lowered
    return lowest, highest, lowered


@kernel
def lay_out(image, above, before, values, lowered, h, resolution):  # type: ignore[no-untyped-def]
    """Copy a plane and its lowered form into planes with a border."""
    height, width = image.shape
    outside = -np.inf
    for y in range(values.shape[0]):
        if y < above or y >= above + height:
            values[y] = outside
            lowered[y] = outside
            continue
        values[y, :before] = outside
        lowered[y, :before] = outside
        values[y, before + width :] = outside
        lowered[y, before + width :] = outside
        for x in range(width):
            value = image[y - above, x]
            values[y, before + x] = value
            lowered[y, before + x] = (value - h) - resolution * abs(value)


@kernel
def candidates(values, lowered, starts, width, offsets, near, monotone, h, lowest, highest):  # type: ignore[no-untyped-def]
    """Places that no pixel of their footprint rules out."""
    found: np.ndarray = np.empty(1024, np.int64)
    count = 0
    best = np.empty(width, values.dtype)
    maybe = np.empty(width, np.bool_)
    for start in starts:
        # Slices, because an index that may be negative keeps the compiler from using vectors.
        own = values[start : start + width]
        best[:] = lowered[start : start + width]
        for k in range(near):
            place = start + offsets[k]
            others = lowered[place : place + width]
            for x in range(width):
                best[x] = max(best[x], others[x])
        for x in range(width):
            apart = own[x] - lowest >= h or own[x] - highest >= h or not monotone
            maybe[x] = (own[x] - best[x] >= h) & apart
        for x in range(width):
            if not maybe[x]:
                continue
            place = start + x
            value = values[place]
            if monotone and value - lowest < h:
                # All pixels are above v - h: the whole image is one flood.
                if value - highest < h:
                    continue
            else:
                ruled_out = False
                for k in range(near, len(offsets)):
                    if value - lowered[place + offsets[k]] < h:
                        ruled_out = True
                        break
                if ruled_out:
                    continue
            if count == len(found):
                found = np.concatenate((found, np.empty(count, np.int64)))
            found[count] = place
            count += 1
    return found[:count]


@kernel
def decide(  # type: ignore[no-untyped-def]
    values, lowered, owners, places, offsets, faces, monotone, symmetric, h, lowest, highest
):
    """Flood from each place, in order of value from the highest.

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
        if monotone and value - lowest < h:
            answers[i] = yes if value - highest >= h else no
            continue
        stamp = i + 1
        earlier = owners[start]
        if symmetric and earlier > 0 and values[places[earlier - 1]] == value:
            answers[i] = answers[earlier - 1]
            seen[i] = seen[earlier - 1]
            into[stamp] = into[earlier]
            continue
        answer = yes
        highest_seen = lowered[start]
        owners[start] = stamp
        pending[0] = start
        count = 1
        size = 0
        while count and answer != no:
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
                if lowered[other] > highest_seen:
                    highest_seen = lowered[other]
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
        answers[i] = answer
        seen[i] = highest_seen
        if answer != no:
            border, new_border = new_border, border
            beyond, new_beyond = new_beyond, beyond
            complete, complete_size = stamp, size
    return answers
