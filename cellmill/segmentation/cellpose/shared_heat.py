"""The flows that objects have by themselves, as Cellpose 4 finds them: all in one field of heat.

As in `heat`, heat is put in at an object's middle and spreads over its pixels. By cellpose 4.2.1.1
(`masks_to_flows_gpu`, on a CPU) all objects' heat spreads for as long as the largest one of the
image needs; slopes are taken in the field of all, so that objects which touch see each other's
heat; and from 40 Mpx on heat is single precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.segmentation.cellpose.heat import slope

#: Objects that a thread does before it asks for more.
_AT_ONCE = 32
#: An image of more pixels, a rim of one around it counted, has heat in single precision.
_DOUBLE_PIXELS = 4e7


def rounds_of(boxes: np.ndarray) -> int:
    """How often heat spreads, for objects with these boxes, `(n, 4)`: y0, y1, x0, x1."""
    sides = (boxes[:, 1] - boxes[:, 0]) + (boxes[:, 3] - boxes[:, 2])
    return 2 * (int(sides.max(initial=0)) + 2)


def heat_type(shape: Sequence[int]) -> type[np.floating]:
    """The precision of heat in an image `(Y, X)`."""
    return np.float32 if (shape[0] + 2) * (shape[1] + 2) > _DOUBLE_PIXELS else np.float64


def shared_flow_errors(
    labels: np.ndarray,
    ids: np.ndarray,
    boxes: np.ndarray,
    steps: np.ndarray,
    rounds: int,
    dtype: type[np.floating],
) -> np.ndarray:
    """Mean square difference between the flows of objects and those of the network.

    Args:
        labels: `(Y, X)` integers.
        ids: of the objects that have heat, `(n,)`: whole, and with all that they touch.
        boxes: theirs, `(n, 4)` int64: y0, y1, x0, x1.
        steps: `(Y, X, 2)` float32 at least: a fifth of the network's flows, down and right.
        rounds: see `rounds_of`.
        dtype: see `heat_type`.

    Returns:
        `(n,)` float64.
    """
    warm = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), dtype)
    errors = np.empty(len(ids))
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    order = np.argsort(-areas, kind="stable")
    many = min(_AT_ONCE, max(1, len(order) // (4 * thread_count())))

    def heat(first: int) -> None:
        _heat(labels, ids, boxes, order[first : first + many], rounds, warm)

    def compare(first: int) -> None:
        _errors(labels, ids, boxes, steps, order[first : first + many], warm, errors)

    for part in (heat, compare):
        in_threads(part, range(0, len(order), many))
    return errors


@kernel
def _heat(labels, ids, boxes, some, rounds, warm):  # type: ignore[no-untyped-def]
    """Write the heat of some objects to their pixels of a field with a rim of one."""
    for k in some:
        y0, y1, x0, x1 = boxes[k]
        window = labels[y0:y1, x0:x1]
        own = _spread(window, ids[k], rounds, warm)
        for y in range(y1 - y0):
            for x in range(x1 - x0):
                if window[y, x] == ids[k]:
                    warm[y0 + y + 1, x0 + x + 1] = own[y + 1, x + 1]


@kernel
def _spread(window, label, rounds, like):  # type: ignore[no-untyped-def]
    """Heat of an object's pixels within its box, with a rim of one pixel."""
    high, wide = window.shape
    share = np.zeros((high, wide), like.dtype)
    for y in range(high):
        for x in range(wide):
            share[y, x] = window[y, x] == label
    middle_y, middle_x = _middle(window, label)
    own = np.zeros((high + 2, wide + 2), like.dtype)
    other = np.zeros((high + 2, wide + 2), like.dtype)
    for _ in range(rounds):
        own[middle_y + 1, middle_x + 1] += 1
        for y in range(high):
            _spread_row(own[y], own[y + 1], own[y + 2], share[y], other[y + 1])
        own, other = other, own
    return own


@kernel
def _spread_row(above, here, below, share, out):  # type: ignore[no-untyped-def]
    nine = here.dtype.type(9)
    for x in range(len(share)):
        heat = here[x + 1] + above[x + 1] + below[x + 1] + here[x] + here[x + 2]
        heat = heat + above[x] + above[x + 2] + below[x] + below[x + 2]
        out[x + 1] = heat / nine * share[x]


@kernel
def _middle(window, label):  # type: ignore[no-untyped-def]
    """The object's first pixel of those nearest to its centroid, which is rounded to a pixel."""
    high, wide = window.shape
    area, sum_y, sum_x = 0, 0, 0
    for y in range(high):
        for x in range(wide):
            if window[y, x] == label:
                area += 1
                sum_y += y
                sum_x += x
    mean_y, mean_x = np.int64(np.rint(sum_y / area)), np.int64(np.rint(sum_x / area))
    nearest, found_y, found_x = high * high + wide * wide, 0, 0
    for y in range(high):
        for x in range(wide):
            if window[y, x] == label:
                away = (y - mean_y) ** 2 + (x - mean_x) ** 2
                if away < nearest:
                    nearest, found_y, found_x = away, y, x
    return found_y, found_x


@kernel
def _errors(labels, ids, boxes, steps, some, warm, errors):  # type: ignore[no-untyped-def]
    for k in some:
        y0, y1, x0, x1 = boxes[k]
        total, area = 0.0, 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] == ids[k]:
                    v, u = slope(warm, y, x)
                    a = v - np.float64(steps[y, x, 0])
                    b = u - np.float64(steps[y, x, 1])
                    total += a * a + b * b
                    area += 1
        errors[k] = total / area
