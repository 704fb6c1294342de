"""What an object encloses: pixels from which no way leads out of its box but through the object.

Ways go over the sides of pixels: four in an image, six in a volume. What is enclosed may be
background or other objects; it is a hole of the object in every sense but the reference's of
`cellmill.labels.holes`, which goes by the size of pieces.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads

#: Objects that a thread looks at before it asks for more.
_AT_ONCE = 256


def enclosing(labels: np.ndarray, ids: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Say which objects enclose anything.

    An object that encloses nothing does not begin to when others are filled: what is filled in
    another goes from it together with what is around it.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integers.
        ids: of the objects, `(n,)`.
        boxes: theirs, `(n, 4)` int64: y0, y1, x0, x1; of a volume `(n, 6)`, z0, z1 first.

    Returns:
        `(n,)` bool.
    """
    found = np.zeros(len(ids), bool)
    planes, edges, flat = _as_volume(labels, boxes)

    def part(first: int) -> None:
        some = slice(first, first + _AT_ONCE)
        _look(planes, ids[some], edges[some], flat, found[some])

    in_threads(part, range(0, len(ids), _AT_ONCE))
    return found


def fill_enclosed(labels: np.ndarray, ids: np.ndarray, boxes: np.ndarray) -> None:
    """Give objects what they enclose, one after the other, in place.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integers, written to.
        ids: of the objects, in the order in which they are filled.
        boxes: theirs before anything is filled, `(n, 4)` int64: y0, y1, x0, x1; of a volume
            `(n, 6)`, z0, z1 first.
    """
    planes, edges, flat = _as_volume(labels, boxes)
    _fill(planes, ids, edges, flat)


def enclosed_places(window: np.ndarray, label: int) -> np.ndarray:
    """Places, in an object's box laid flat, of the pixels that it encloses, int64.

    Args:
        window: `(Y, X)` or `(Z, Y, X)` integers, the box.
        label: the object's.
    """
    flat = window.ndim == 2
    places: np.ndarray = _enclosed(window[np.newaxis] if flat else window, label, flat)
    return places


def _as_volume(labels: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Labels and boxes of a volume; and whether it is an image, that no way leaves by its faces."""
    if labels.ndim == 3:
        return labels, boxes, False
    plane = np.broadcast_to(np.array([0, 1], boxes.dtype), (len(boxes), 2))
    return labels[np.newaxis], np.concatenate([plane, boxes], axis=1), True


@kernel
def _look(labels, ids, boxes, flat, found):  # type: ignore[no-untyped-def]
    for k in range(len(ids)):
        z0, z1, y0, y1, x0, x1 = boxes[k]
        found[k] = len(_enclosed(labels[z0:z1, y0:y1, x0:x1], ids[k], flat)) > 0


@kernel
def _fill(labels, ids, boxes, flat):  # type: ignore[no-untyped-def]
    for k in range(len(ids)):
        z0, z1, y0, y1, x0, x1 = boxes[k]
        window = labels[z0:z1, y0:y1, x0:x1]
        for place in _enclosed(window, ids[k], flat):
            row, x = divmod(place, x1 - x0)
            z, y = divmod(row, y1 - y0)
            window[z, y, x] = ids[k]


@kernel
def _enclosed(window, label, flat):  # type: ignore[no-untyped-def]
    """Places in a window laid flat; `flat` if no way leads out over its first and last plane."""
    deep, high, wide = window.shape
    seen = np.empty((deep, high, wide), np.bool_)
    others = 0
    for z in range(deep):
        for y in range(high):
            for x in range(wide):
                seen[z, y, x] = window[z, y, x] == label
                others += not seen[z, y, x]
    # From the rim inwards.
    places = np.empty(others, np.int64)
    end = 0
    for z in range(deep):
        face = not flat and z in (0, deep - 1)
        for y in range(high):
            step = 1 if face or y in (0, high - 1) else max(wide - 1, 1)
            for x in range(0, wide, step):
                if not seen[z, y, x]:
                    seen[z, y, x] = True
                    places[end] = (z * high + y) * wide + x
                    end += 1
    done = 0
    while done < end:
        row, i = divmod(places[done], wide)
        k, j = divmod(row, high)
        done += 1
        for dz, dy, dx in ((0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0), (-1, 0, 0), (1, 0, 0)):
            w, v, u = k + dz, j + dy, i + dx
            if 0 <= w < deep and 0 <= v < high and 0 <= u < wide and not seen[w, v, u]:
                seen[w, v, u] = True
                places[end] = (w * high + v) * wide + u
                end += 1
    if end == others:
        return places[:0]
    found = np.empty(others - end, np.int64)
    n = 0
    for z in range(deep):
        for y in range(high):
            for x in range(wide):
                if not seen[z, y, x]:
                    found[n] = (z * high + y) * wide + x
                    n += 1
    return found
