"""Star-convex polygons: their corners in whole pixels, areas, and how much two of them share.

Corners are cut to whole pixels before areas are taken, as StarDist does: `polygons` of the same
rays differ with where they lie, so corners are computed from places in the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.segmentation.stardist.candidates import Candidates

#: Square pixels: what rounding leaves of polygons that only touch.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Polygons:
    """The polygons of candidates, in their order.

    Attributes:
        y: `(N, R)` int32, rows of the corners in pixels of the image.
        x: `(N, R)` int32, columns.
        boxes: `(N, 4)` int32: the least and greatest y, the least and greatest x of the corners.
        areas: `(N,)` int64, twice the area in square pixels.
        inner: `(N,)` float32, radius of the largest disk around the centre within the polygon; 0
            where the corners do not go around the centre in order.
    """

    y: np.ndarray
    x: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    inner: np.ndarray


def polygons_of(candidates: Candidates) -> Polygons:
    """The polygons of candidates, corners in whole pixels."""
    count, rays = candidates.rays.shape
    # Single precision, as StarDist computes them: where a corner is cut depends on the last bit.
    angles = np.float32(2 * np.pi / rays) * np.arange(rays, dtype=np.float32)
    sines, cosines = (
        function(angles.astype(np.float64)).astype(np.float32) for function in (np.sin, np.cos)
    )
    found = Polygons(
        np.empty((count, rays), np.int32),
        np.empty((count, rays), np.int32),
        np.empty((count, 4), np.int32),
        np.empty(count, np.int64),
        np.empty(count, np.float32),
    )

    def work(part: tuple[int, int]) -> None:
        cut = slice(*part)
        _outline(
            *(candidates.y[cut], candidates.x[cut], candidates.rays[cut], sines, cosines),
            *(found.y[cut], found.x[cut], found.boxes[cut], found.areas[cut], found.inner[cut]),
        )

    in_threads(work, bands(count, 4096))
    return found


@kernel
def _outline(y, x, rays, sines, cosines, ys, xs, boxes, areas, inner):  # type: ignore[no-untyped-def]
    count, corners = rays.shape
    for i in range(count):
        centre_y, centre_x = np.float32(y[i]), np.float32(x[i])
        for k in range(corners):
            ys[i, k] = int(np.float32(centre_y + np.float32(rays[i, k] * sines[k])))
            xs[i, k] = int(np.float32(centre_x + np.float32(rays[i, k] * cosines[k])))
        boxes[i, 0], boxes[i, 1] = ys[i].min(), ys[i].max()
        boxes[i, 2], boxes[i, 3] = xs[i].min(), xs[i].max()
        twice = 0
        nearest = np.inf
        in_order = True
        last_y, last_x = ys[i, corners - 1] - y[i], xs[i, corners - 1] - x[i]
        for k in range(corners):
            here_y, here_x = ys[i, k] - y[i], xs[i, k] - x[i]
            cross = last_x * here_y - here_x * last_y
            twice += cross
            length = np.hypot(here_y - last_y, here_x - last_x)
            in_order = in_order and cross >= 0
            if length > 0:
                nearest = min(nearest, cross / length)
            last_y, last_x = here_y, here_x
        areas[i] = abs(twice)
        # A disk that is a little smaller lies within, whatever is rounded.
        inner[i] = nearest * (1 - 1e-6) if in_order and nearest < np.inf else 0


@kernel
def overlaps(i, j, polygons, threshold, edges):  # type: ignore[no-untyped-def]
    """Whether two polygons share more than a part, float32, of the smaller one's area.

    `polygons` are the arrays of `Polygons` and the centres' rows and columns, `edges` is room for
    `(2, R, 5)` float64.
    """
    ys, xs, boxes, areas, inner, centres_y, centres_x = polygons
    smaller = min(areas[i], areas[j])
    if smaller == 0:
        return False
    top, bottom = max(boxes[i, 0], boxes[j, 0]), min(boxes[i, 1], boxes[j, 1])
    left, right = max(boxes[i, 2], boxes[j, 2]), min(boxes[i, 3], boxes[j, 3])
    if top >= bottom or left >= right:
        return False
    # No more than the boxes share; no less than a disk within the disks of both.
    most = 2.0 * (bottom - top) * (right - left)
    if np.float32(most / smaller) <= threshold:
        return False
    between = np.hypot(float(centres_y[i] - centres_y[j]), float(centres_x[i] - centres_x[j]))
    radius = min(min(inner[i], inner[j]), (inner[i] + inner[j] - between) / 2)
    if radius > 0 and np.float32(2 * np.pi * radius * radius / smaller) > threshold:
        return True
    shared = _shared(ys[i], xs[i], ys[j], xs[j], top, bottom, left, edges)
    return shared > _NOTHING and np.float32(2 * shared / smaller) > threshold


@kernel
def _shared(ay, ax, by, bx, top, bottom, left, edges):  # type: ignore[no-untyped-def]
    """The area that two polygons share, of which `top`, `bottom` and `left` bound what is shared.

    A point is within a polygon if of the edges to its right one more goes down than goes up, so
    the area is the sum over pairs of edges, one of each polygon, of ± the integral over their
    common rows of the lesser of their columns. Nothing has to be said of edges that touch, or lie
    on each other.
    """
    first = _edges(ay, ax, top, bottom, left, edges[0])
    second = _edges(by, bx, top, bottom, left, edges[1])
    total = 0.0
    for e in range(first):
        e_top, e_bottom, e_x = edges[0, e, 0], edges[0, e, 1], edges[0, e, 2]
        e_slope, e_sign = edges[0, e, 3], edges[0, e, 4]
        for f in range(second):
            upper, lower = max(e_top, edges[1, f, 0]), min(e_bottom, edges[1, f, 1])
            if upper >= lower:
                continue
            f_slope = edges[1, f, 3]
            one = e_x + (upper - e_top) * e_slope
            other = edges[1, f, 2] + (upper - edges[1, f, 0]) * f_slope
            height = lower - upper
            before = one - other
            after = before + height * (e_slope - f_slope)
            if before <= 0 and after <= 0:
                least = one + height * e_slope / 2
            elif before >= 0 and after >= 0:
                least = other + height * f_slope / 2
            else:
                above = max(before, after)
                over = above * above / (abs(before) + abs(after)) / 2
                least = one + height * e_slope / 2 - over
            total += e_sign * edges[1, f, 4] * height * least
    return abs(total)


@kernel
def _edges(y, x, top, bottom, left, edges):  # type: ignore[no-untyped-def]
    """Edges that are not level: first row, last row, column there, slope, and whether it rises."""
    corners = len(y)
    count = 0
    last = corners - 1
    for k in range(corners):
        low, high = (last, k) if y[last] < y[k] else (k, last)
        if y[low] < y[high] and y[low] < bottom and y[high] > top:
            edges[count, 0] = y[low] - top
            edges[count, 1] = y[high] - top
            edges[count, 2] = x[low] - left
            edges[count, 3] = (x[high] - x[low]) / (y[high] - y[low])
            edges[count, 4] = 1.0 if low == last else -1.0
            count += 1
        last = k
    return count
