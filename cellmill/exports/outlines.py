"""Objects as polygons: their pixels' outer edges, exactly, with holes.

A pixel covers the square from its column and row to the next: corners are whole numbers, (0, 0) is
the image's corner. A walk along edges keeps the object on its right. Where two of the object's
pixels meet at a corner alone it stays with its own, so that such parts are polygons of their own;
where a walk comes back to a corner it has cut off a ring. So no ring touches itself, as the rules
of simple features want it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from cellmill.compute.kernels import kernel

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_SIDES = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class Polygon:
    """A connected part of an object.

    Attributes:
        outer: `(N, 2)` x and y of the corners of its outer ring, not closed; with y pointing down
            it runs clockwise, which is what GeoJSON asks for where y points up.
        holes: the rings of its holes, which run the other way.
    """

    outer: np.ndarray
    holes: tuple[np.ndarray, ...] = ()


def outline(mask: np.ndarray, origin: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """Give the polygons of one object.

    Args:
        mask: `(Y, X)` bool.
        origin: row and column of the mask's first pixel in the image.

    Returns:
        A polygon for each part whose pixels share edges, in raster order; corners are int64.

    Example:
        >>> outline(np.array([[True, True]]))[0].outer.tolist()
        [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    points, ends, areas = _rings(np.ascontiguousarray(mask, dtype=bool))
    shift = np.array([origin[1] - 1, origin[0] - 1])
    if len(ends) == 1:
        return (Polygon(points + shift),)
    found = np.split(points, ends[:-1]) if len(ends) else []
    outers = [ring for ring, area in zip(found, areas, strict=True) if area > 0]
    holes = [ring for ring, area in zip(found, areas, strict=True) if area < 0]
    if len(outers) == 1:
        return (Polygon(outers[0] + shift, tuple(hole + shift for hole in holes)),)
    padded = np.pad(np.ascontiguousarray(mask, dtype=bool), 1)
    parts = ndimage.label(padded, _SIDES)[0] if holes else padded.astype(np.int32)
    inside: dict[int, list[np.ndarray]] = {}
    for hole in holes:
        inside.setdefault(int(parts[_pixel_beside(hole)]), []).append(hole + shift)
    return tuple(
        Polygon(ring + shift, tuple(inside.get(int(parts[_pixel_beside(ring)]), ())))
        for ring in outers
    )


def polygons_of(
    labels: np.ndarray, label: int, box: tuple[int, int, int, int], origin: tuple[int, int] = (0, 0)
) -> tuple[Polygon, ...]:
    """Give the polygons of one object of a label image.

    Args:
        labels: `(Y, X)` integers, a window of a label image.
        label: the object's.
        box: where it lies in the whole image: first and one past the last row, and column.
        origin: row and column of the window's first pixel in the image.
    """
    y0, y1, x0, x1 = box
    window = labels[y0 - origin[0] : y1 - origin[0], x0 - origin[1] : x1 - origin[1]]
    return outline(window == label, (y0, x0))


def simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """Leave corners out so that no point of a ring is farther away than a tolerance.

    By the algorithm of Douglas and Peucker, ring by ring; a ring of which less than three corners
    would be left stays as it is.

    Args:
        polygon: with its corners.
        tolerance: pixels; 0 leaves it as it is.
    """
    if not tolerance:
        return polygon

    def fewer(ring: np.ndarray) -> np.ndarray:
        kept = cv2.approxPolyDP(ring.astype(np.float32)[:, np.newaxis], tolerance, closed=True)[
            :, 0
        ]
        return kept.astype(np.int64) if len(kept) >= 3 else ring

    return Polygon(fewer(polygon.outer), tuple(fewer(hole) for hole in polygon.holes))


def _pixel_beside(ring: np.ndarray) -> tuple[int, int]:
    """Row and column of the object's pixel on the right of a ring's first edge."""
    (x, y), (next_x, next_y) = ring[0].tolist(), ring[1].tolist()
    if next_x != x:
        return (y, x) if next_x > x else (y - 1, x - 1)
    return (y, x - 1) if next_y > y else (y - 1, x)


@kernel
def _rings(mask):  # type: ignore[no-untyped-def]
    """Corners of all rings in the mask with a rim, where each ends, and twice what it encloses.

    Areas of holes are below 0.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.bool_)
    padded[1:-1, 1:-1] = mask
    count = 0
    for y in range(height + 1):
        for x in range(width + 1):
            count += padded[y, x] != padded[y + 1, x]
            count += padded[y, x] != padded[y, x + 1]
    points, ends = np.empty((count + 4, 2), np.int64), np.empty(count + 1, np.int64)
    rings = _trace(padded, points, ends)
    areas = np.zeros(rings, np.int64)
    first = 0
    for ring in range(rings):
        before = ends[ring] - 1
        for k in range(first, ends[ring]):
            areas[ring] += points[before, 0] * points[k, 1] - points[k, 0] * points[before, 1]
            before = k
        first = ends[ring]
    return points[: ends[rings - 1] if rings else 0].copy(), ends[:rings].copy(), areas


@kernel
def _to_next_corner(mask, seen, y, x, heading):  # type: ignore[no-untyped-def]
    """Walk along an edge to its end: where that is, and where the next edge heads."""
    while True:
        # Pixels ahead, on the left and on the right of the way.
        if heading == _RIGHT:
            seen[y, x] = True
            x += 1
            left, right = mask[y - 1, x], mask[y, x]
        elif heading == _DOWN:
            y += 1
            left, right = mask[y, x], mask[y, x - 1]
        elif heading == _LEFT:
            x -= 1
            left, right = mask[y, x - 1], mask[y - 1, x - 1]
        else:
            y -= 1
            left, right = mask[y - 1, x - 1], mask[y - 1, x]
        if not right:
            return y, x, (heading + 1) % 4
        if left:
            return y, x, (heading + 3) % 4


@kernel
def _is_crossing(mask, y, x):  # type: ignore[no-untyped-def]
    """Whether four edges meet at a corner."""
    alike = mask[y - 1, x - 1] == mask[y, x] and mask[y - 1, x] == mask[y, x - 1]
    return alike and mask[y, x] != mask[y - 1, x]


@kernel
def _trace(mask, points, ends):  # type: ignore[no-untyped-def]
    """Write the corners of all rings, one behind the other, and where each ends; return how many.

    The mask has a rim of background. `points` has room for as many corners as there are edges.
    """
    height, width = mask.shape
    seen = np.zeros((height, width), np.bool_)
    path = np.empty((len(points), 2), np.int64)
    # Where in the path the corners lie at which four edges meet.
    crossings = np.empty(len(points), np.int64)
    written, rings = 0, 0
    for row in range(1, height):
        for column in range(1, width):
            if seen[row, column] or not mask[row, column] or mask[row - 1, column]:
                continue
            y, x, heading = row, column, _RIGHT
            length, crossed = 0, 0
            while True:
                if _is_crossing(mask, y, x):
                    for k in range(crossed):
                        at = crossings[k]
                        if path[at, 0] == x and path[at, 1] == y:
                            # Back at a corner: what lies between is a ring of its own.
                            points[written : written + length - at] = path[at:length]
                            written += length - at
                            ends[rings] = written
                            rings += 1
                            length, crossed = at, k
                            break
                    crossings[crossed] = length
                    crossed += 1
                path[length, 0], path[length, 1] = x, y
                length += 1
                y, x, heading = _to_next_corner(mask, seen, y, x, heading)
                if y == row and x == column and heading == _RIGHT:
                    break
            points[written : written + length] = path[:length]
            written += length
            ends[rings] = written
            rings += 1
    return rings
