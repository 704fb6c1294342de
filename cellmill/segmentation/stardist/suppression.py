"""Non-maximum suppression of star-convex polygons: which candidates become objects.

Candidates are gone through by rank. One is kept unless it overlaps one of higher rank that is kept;
so every candidate's fate follows from those of higher rank (Schmidt et al., 2018). Where not all
that count are known, a candidate stays open: its fate is settled later, and is the same.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.segmentation.stardist.candidates import Candidates
from cellmill.segmentation.stardist.polygons import Polygons, overlaps, polygons_of

OPEN, KEPT, DROPPED = np.uint8(0), np.uint8(1), np.uint8(2)

#: Side of the cells in which polygons are looked up, pixels, and most cells that there are.
_CELL, _MOST_CELLS = 64, 1 << 22


def suppress(
    candidates: Candidates,
    threshold: float,
    *,
    fates: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    exposed: np.ndarray | None = None,
    polygons: Polygons | None = None,
) -> np.ndarray:
    """Decide which candidates are kept.

    Args:
        candidates: by rank.
        threshold: part of the smaller area above which two polygons overlap.
        fates: what is known of them; none is that all are open.
        decided: those whose fates are not to be changed, bool; none is none of them.
        exposed: those that an unknown candidate may overlap, bool: if nothing known drops such a
            one, it stays open. None is none of them.
        polygons: theirs, where they are known already.

    Returns:
        `(N,)` uint8, `OPEN`, `KEPT` or `DROPPED`. Without `exposed`, and if all fates that were
        given as decided are not open, no candidate stays open.
    """
    count = len(candidates)
    found = np.full(count, OPEN) if fates is None else fates.copy()
    if not count:
        return found
    shapes = polygons or polygons_of(candidates)
    nobody = np.zeros(count, np.bool_)
    low = shapes.boxes[:, ::2].min(axis=0).astype(np.int64)
    extent = shapes.boxes[:, 1::2].max(axis=0).astype(np.int64) - low
    side = _CELL
    while (extent[0] // side + 1) * (extent[1] // side + 1) > _MOST_CELLS:
        side *= 2
    _decide(
        (shapes.y, shapes.x, shapes.boxes, shapes.areas, shapes.inner, candidates.y, candidates.x),
        np.float32(threshold),
        found,
        nobody if decided is None else decided,
        nobody if exposed is None else exposed,
        np.full((extent[0] // side + 1, extent[1] // side + 1), -1),
        (low[0], low[1], side),
    )
    return found


@kernel
def _decide(polygons, threshold, fates, decided, exposed, heads, origin):  # type: ignore[no-untyped-def]
    """Set the fates of candidates; `heads` is -1 for each cell, `origin` their corner and side."""
    boxes = polygons[2]
    count, corners = polygons[0].shape
    edges = np.empty((2, corners, 5))
    # In each cell a chain of the kept and open polygons whose boxes reach it: owner, next link.
    chains = np.empty((1024, 2), np.int64)
    links = 0
    near, distances = np.empty(256, np.int64), np.empty(256, np.float64)
    for j in range(count):
        if fates[j] == 2:
            continue
        if not decided[j] and fates[j] == 0:
            fate = 0 if exposed[j] else 1
            # Kept ones drop it; if none does, an open one leaves it open.
            for other, then in ((1, 2), (0, 0)):
                if other == 0 and fate != 1:
                    break
                near, distances, found = _near(
                    polygons, fates, other, j, heads, chains, origin, near, distances
                )
                for k in range(found):
                    i = _nearest(near, distances, k, found)
                    if overlaps(i, j, polygons, threshold, edges):
                        fate = then
                        break
            fates[j] = fate
            if fate == 2:
                continue
        y0, y1 = (boxes[j, 0] - origin[0]) // origin[2], (boxes[j, 1] - origin[0]) // origin[2]
        x0, x1 = (boxes[j, 2] - origin[1]) // origin[2], (boxes[j, 3] - origin[1]) // origin[2]
        for row in range(y0, y1 + 1):
            for column in range(x0, x1 + 1):
                if links == len(chains):
                    longer = np.empty((2 * links, 2), np.int64)
                    longer[:links] = chains
                    chains = longer
                chains[links, 0], chains[links, 1] = j, heads[row, column]
                heads[row, column] = links
                links += 1


@kernel
def _near(polygons, fates, fate, j, heads, chains, origin, near, distances):  # type: ignore[no-untyped-def]
    """The polygons of a fate whose boxes share pixels with another's, and how far they are."""
    boxes, y, x = polygons[2], polygons[5], polygons[6]
    low_y, low_x, side = origin
    found = 0
    for row in range((boxes[j, 0] - low_y) // side, (boxes[j, 1] - low_y) // side + 1):
        for column in range((boxes[j, 2] - low_x) // side, (boxes[j, 3] - low_x) // side + 1):
            link = heads[row, column]
            while link >= 0:
                i, link = chains[link, 0], chains[link, 1]
                if fates[i] != fate:
                    continue
                top, left = max(boxes[i, 0], boxes[j, 0]), max(boxes[i, 2], boxes[j, 2])
                # A pair meets in several cells; it is looked at in one.
                if (top - low_y) // side != row or (left - low_x) // side != column:
                    continue
                if top >= min(boxes[i, 1], boxes[j, 1]) or left >= min(boxes[i, 3], boxes[j, 3]):
                    continue
                if found == len(near):
                    near, distances = np.append(near, near), np.append(distances, distances)
                near[found] = i
                distances[found] = (y[i] - y[j]) ** 2 + (x[i] - x[j]) ** 2
                found += 1
    return near, distances, found


@kernel
def _nearest(near, distances, k, found):  # type: ignore[no-untyped-def]
    """The nearest of those from place `k` on, which goes there: it is the likeliest to overlap."""
    best = k
    for other in range(k + 1, found):
        if distances[other] < distances[best]:
            best = other
    i = near[best]
    near[best], distances[best] = near[k], distances[k]
    return i
