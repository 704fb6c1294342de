"""Walks as Cellpose 4 goes them: positions from -1 to 1, read as if pixels were half as far out.

By cellpose 4.2.1.1 on a CPU (`steps_interp`, torch's `grid_sample` without aligned corners):
positions run from -1 to 1 over the centres of the first and the last pixel of the image, but the
field is read as if that were their outer edges, and is 0 beyond. Where a walk ends so depends on
the size of the image, and not on the window that it is followed in. All is single precision;
products and sums that torch's kernel fuses are rounded once, here by way of double precision.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.segmentation.cellpose.ends import LEFT
from cellmill.segmentation.cellpose.positions import inwards, outwards

#: Steps from one position that is kept to the next: so many, and this part of those gone.
_KEPT_EACH, _KEPT_PART = 4, 4
_ONE, _HALF = np.float32(1), np.float32(0.5)


@kernel
def go_normalised(  # type: ignore[no-untyped-def]
    steps, row, inside, shape, begin, places, count, ends
):
    """Walk from all places; how many left the window. The arguments are those of `walks._go`."""
    high, wide = shape
    top, left, lowest, rightmost = inside
    across = _part(high), _part(wide)
    gone = 0
    for place in places:
        v, u = divmod(place, begin[2])
        y, x = inwards(begin[0] + v, high), inwards(begin[1] + u, wide)
        kept_y, kept_x = y, x
        kept, keep_next, t, last, found, lost = 0, 0, 0, count, False, False
        while t < last:
            if t == keep_next and not found:
                kept_y, kept_x, kept = y, x, t
                keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
            at_y, at_x = _read_at(y, high), _read_at(x, wide)
            j, k = np.int64(np.floor(at_y)), np.int64(np.floor(at_x))
            lost = max(j, 0) < top or max(k, 0) < left or j > lowest or k > rightmost
            if lost:
                break
            down, right = _between(steps, row, j - top, k - left, at_y, at_x, j, k, across)
            y = min(max(y + down, -_ONE), _ONE)
            x = min(max(x + right, -_ONE), _ONE)
            t += 1
            if not found and y == kept_y and x == kept_x:
                # It goes round: what is left of the last round is all that counts.
                found, last = True, t + (count - t) % (t - kept)
        if lost:
            ends[place] = LEFT
            gone += 1
        else:
            ends[place] = outwards(y, high) * wide + outwards(x, wide)
    return gone


@kernel
def _part(side):  # type: ignore[no-untyped-def]
    """How far a step of one pixel goes; along an axis of one pixel nothing moves."""
    return np.float32(2.0 / (side - 1)) if side > 1 else np.float32(0)


@kernel
def _fused(a, b, c):  # type: ignore[no-untyped-def]
    """`a · b + c`, rounded once: the product is exact in double precision."""
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


@kernel
def _read_at(position, side):  # type: ignore[no-untyped-def]
    """Where the field is read, in pixels from -0.5 on."""
    return _fused(position + _ONE, np.float32(side) * _HALF, -_HALF)


@kernel
def _between(steps, row, v, u, at_y, at_x, j, k, across):  # type: ignore[no-untyped-def]
    """The step between the pixels j, k and j + 1, k + 1, those of the window v, u and so on.

    Beyond the window's last row and column the field has zeros; before the image's first nothing
    is read.
    """
    n, w = at_y - np.float32(j), at_x - np.float32(k)
    s, e = _ONE - n, _ONE - w
    north, south, west, east = s * e, n * e, s * w, n * w
    at = v * row + u * 2
    found_down, found_right = np.float32(0), np.float32(0)
    if j >= 0 and k >= 0:
        found_down = np.float32(steps[at] * across[0]) * north
        found_right = np.float32(steps[at + 1] * across[1]) * north
    if j >= 0:
        found_down = _fused(np.float32(steps[at + 2] * across[0]), west, found_down)
        found_right = _fused(np.float32(steps[at + 3] * across[1]), west, found_right)
    at += row
    if k >= 0:
        found_down = _fused(np.float32(steps[at] * across[0]), south, found_down)
        found_right = _fused(np.float32(steps[at + 1] * across[1]), south, found_right)
    found_down = _fused(np.float32(steps[at + 2] * across[0]), east, found_down)
    found_right = _fused(np.float32(steps[at + 3] * across[1]), east, found_right)
    return found_down, found_right
