"""The flows that an object has by itself: down a slope of heat from its middle.

Heat is put in at the object's pixel that is nearest to its centroid and spreads over its pixels,
each taking the mean of the 3 × 3 around it (Stringer et al., Nature Methods 18, 2021). Order and
precision of all operations are those of cellpose 3.1.1.3 on a CPU, so errors are equal to the bit.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.labels.holes import outlines

#: Objects that a thread does before it asks for more.
_AT_ONCE = 32
_NINTH = 1 / 9.0
#: So that nothing is divided by nothing.
_TINY = 1e-60


def flow_errors(
    labels: np.ndarray, ids: np.ndarray, boxes: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Mean square difference between the flows of objects and those of the network.

    Args:
        labels: `(Y, X)` integers.
        ids: of the objects, `(n,)`; each has a pixel.
        boxes: theirs, `(n, 4)` int64: y0, y1, x0, x1.
        steps: `(Y, X, 2)` float32 at least: a fifth of the network's flows, down and right.

    Returns:
        `(n,)` float64.
    """
    errors = np.empty(len(ids))
    # The large ones first, so that no thread is left with one at the end.
    high, wide = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    order = np.argsort(-(high * wide * (high + wide)), kind="stable")
    many = min(_AT_ONCE, max(1, len(order) // (4 * thread_count())))

    def part(first: int) -> None:
        _errors(labels, ids, boxes, steps, order[first : first + many], errors)

    in_threads(part, range(0, len(order), many))
    return errors


def flows_of(labels: np.ndarray) -> np.ndarray:
    """The flows of objects, as a network learns them.

    Args:
        labels: `(Y, X)` integers, not negative, ids not far above the pixel count.

    Returns:
        `(Y, X, 2)` float64, down and right: of length 1 in objects, but for pixels without a slope,
        and 0 outside.
    """
    flows = np.zeros((*labels.shape, 2))
    if labels.size:
        found = outlines(labels)
        ids = np.flatnonzero(found.areas)
        _flows(labels, ids[ids > 0], found.boxes, flows)
    return flows


@kernel
def _errors(labels, ids, boxes, steps, some, errors):  # type: ignore[no-untyped-def]
    for k in some:
        y0, y1, x0, x1 = boxes[k]
        window = labels[y0:y1, x0:x1]
        warm = _spread(window, ids[k])
        down, right, area = 0.0, 0.0, 0
        for y in range(y1 - y0):
            for x in range(x1 - x0):
                if window[y, x] == ids[k]:
                    v, u = slope(warm, y, x)
                    a = v - np.float64(steps[y0 + y, x0 + x, 0])
                    b = u - np.float64(steps[y0 + y, x0 + x, 1])
                    down += a * a
                    right += b * b
                    area += 1
        errors[k] = down / area + right / area


@kernel
def _flows(labels, ids, boxes, flows):  # type: ignore[no-untyped-def]
    for label in ids:
        y0, y1, x0, x1 = boxes[label]
        window = labels[y0:y1, x0:x1]
        warm = _spread(window, label)
        for y in range(y1 - y0):
            for x in range(x1 - x0):
                if window[y, x] == label:
                    v, u = slope(warm, y, x)
                    flows[y0 + y, x0 + x, 0] = v
                    flows[y0 + y, x0 + x, 1] = u


@kernel
def _spread(window, label):  # type: ignore[no-untyped-def]
    """Heat of an object's pixels within its box, with a rim of one pixel."""
    high, wide = window.shape
    share = np.zeros((high, wide))
    middle_y, middle_x = _middle(window, label)
    for y in range(high):
        for x in range(wide):
            if window[y, x] == label:
                share[y, x] = _NINTH
    warm = np.zeros((high + 2, wide + 2))
    other = np.zeros((high + 2, wide + 2))
    for _ in range(2 * (high + wide + 4)):
        warm[middle_y + 1, middle_x + 1] += 1
        for y in range(high):
            _spread_row(warm[y], warm[y + 1], warm[y + 2], share[y], other[y + 1])
        warm, other = other, warm
    return warm


@kernel
def _spread_row(above, here, below, share, out):  # type: ignore[no-untyped-def]
    for x in range(len(share)):
        heat = here[x + 1] + above[x + 1] + below[x + 1] + here[x] + here[x + 2]
        out[x + 1] = share[x] * (heat + above[x] + above[x + 2] + below[x] + below[x + 2])


@kernel
def slope(warm, y, x):  # type: ignore[no-untyped-def]
    """The direction down and right in which heat grows at a pixel; `warm` has a rim of one."""
    v = np.float64(warm[y + 2, x + 1] - warm[y, x + 1])
    u = np.float64(warm[y + 1, x + 2] - warm[y + 1, x])
    length = _TINY + np.sqrt(v * v + u * u)
    return v / length, u / length


@kernel
def _middle(window, label):  # type: ignore[no-untyped-def]
    """The object's first pixel of those nearest to its centroid.

    Which of two is nearer by the last bit depends on where they are counted from: from 1.
    """
    high, wide = window.shape
    area, sum_y, sum_x = 0, 0, 0
    for y in range(high):
        for x in range(wide):
            if window[y, x] == label:
                area += 1
                sum_y += y + 1
                sum_x += x + 1
    mean_y, mean_x = sum_y / area, sum_x / area
    nearest, found_y, found_x = np.inf, 0, 0
    for y in range(high):
        for x in range(wide):
            if window[y, x] == label:
                v, u = y + 1 - mean_y, x + 1 - mean_x
                if u * u + v * v < nearest:
                    nearest, found_y, found_x = u * u + v * v, y, x
    return found_y, found_x
