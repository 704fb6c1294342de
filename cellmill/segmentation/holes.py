"""Filling holes in objects as the reference does."""

from __future__ import annotations

import numpy as np

from cellmill.compiled import bands, in_threads, kernel
from cellmill.errors import BadInput


def fill_holes(labels: np.ndarray, size: float) -> np.ndarray:
    """Give each object the pieces inside its bounding box that have fewer than `size` pixels.

    Only objects with at least as many holes as pieces are touched (Euler number below 1, pixels
    joined over edges and corners). For those, every 4-connected piece of "not this object" within
    the object's bounding box that has fewer than `size` pixels becomes part of it. Beside true
    holes that takes in small notches at the sides and corners of the box, pixels of neighbours
    included. Objects are done in order of ids; which are touched, and their boxes, are those before
    any filling, the pieces those of the moment. All this is the reference's rule, kept because
    labels are compared with its.

    Args:
        labels: `(Y, X)`, integer, not negative.
        size: in pixels; a piece of exactly that many stays.

    Returns:
        Labels of the same dtype, ids kept; the argument itself if `size` is at most 1.

    Raises:
        BadInput: the labels are not two-dimensional.
    """
    if labels.ndim != 2:
        raise BadInput("labels to fill holes in", expected="(Y, X)", found=f"{labels.ndim}-D")
    if size <= 1:
        return labels
    boxes, eulers = boxes_and_eulers(labels)
    filled = labels.copy()
    for label in np.flatnonzero(eulers < 1):
        if label and boxes[label, 1]:
            y0, y1, x0, x1 = boxes[label]
            window = filled[y0:y1, x0:x1]
            fill_box(window, label, size, (slice(0, y1 - y0), slice(0, x1 - x0)))
    return filled


def fill_box(window: np.ndarray, label: int, size: float, part: tuple[slice, slice]) -> None:
    """Give a label those pieces of its box, joined over faces, that begin in a part of a window.

    Args:
        window: `(Y, X)` labels, written to; the object's whole box, or a part of it and so many
            pixels around as a piece may have.
        label: the object's.
        size: pieces of fewer pixels are given to it.
        part: where the first pixel found of a piece must lie, rows and columns of the window.
    """
    _fill(window, label, size, part[0].start, part[0].stop, part[1].start, part[1].stop)


def boxes_and_eulers(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounding box and Euler number (pixels joined over edges and corners) of every object.

    Source: counts of 2 × 2 patterns, S. B. Gray, IEEE Trans. Computers C-20 (1971). Both add up
    over parts of an image.

    Args:
        labels: `(Y, X)`, integer, not negative, ids not far above the pixel count.

    Returns:
        `(ids + 1, 4)` int64 `y0, y1, x0, x1`, all 0 for ids that do not occur, and `(ids + 1,)`
        int64.
    """
    cuts = bands(labels.shape[0])
    highest = max(in_threads(lambda cut: labels[slice(*cut)].max(initial=0), cuts))
    parts = in_threads(lambda cut: _outline(labels, *cut, int(highest)), cuts)
    boxes = np.stack([box for box, _ in parts])
    ends = boxes[..., 1::2].max(axis=0)
    starts = np.where(ends > 0, boxes[..., 0::2].min(axis=0), 0)
    joined = np.stack([starts[:, 0], ends[:, 0], starts[:, 1], ends[:, 1]], axis=1)
    return joined, sum(quads for _, quads in parts) // 4


@kernel
def _outline(labels, start, stop, highest):  # type: ignore[no-untyped-def]
    """Boxes of the pixels in rows `start` to `stop`; 4 × Euler number from quads that end there."""
    height, width = labels.shape
    boxes = np.zeros((highest + 1, 4), np.int64)
    boxes[:, 0] = height
    boxes[:, 2] = width
    quads = np.zeros(highest + 1, np.int64)
    last = height + 1 if stop == height else stop
    for y in range(start, last):
        left_above, left = 0, 0
        for x in range(width + 1):
            above = labels[y - 1, x] if y > 0 and x < width else 0
            here = labels[y, x] if y < height and x < width else 0
            if here and y < stop:
                boxes[here, 0] = min(boxes[here, 0], y)
                boxes[here, 1] = y + 1
                boxes[here, 2] = min(boxes[here, 2], x)
                boxes[here, 3] = max(boxes[here, 3], x + 1)
            if not (here == above and here == left and here == left_above):
                corners = (left_above, above, left, here)
                for k in range(4):
                    label = corners[k]
                    if label == 0:
                        continue
                    count = 0
                    seen = False
                    for m in range(4):
                        if corners[m] == label:
                            count += 1
                            seen = seen or m < k
                    if seen:
                        continue
                    if count == 1:
                        quads[label] += 1
                    elif count == 3:
                        quads[label] -= 1
                    elif count == 2 and corners[3 - k] == label:
                        quads[label] -= 2
            left_above, left = above, here
    return boxes, quads


@kernel
def _fill(window, label, size, top, bottom, left, right):  # type: ignore[no-untyped-def]
    height, width = window.shape
    seen = np.zeros((height, width), np.bool_)
    piece = np.empty(height * width, np.int64)
    other = window != label
    for y in range(top, bottom):
        for x in range(left, right):
            if seen[y, x] or not other[y, x]:
                continue
            seen[y, x] = True
            piece[0] = y * width + x
            count, done = 1, 0
            while done < count:
                j, i = divmod(piece[done], width)
                done += 1
                for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
                    v, u = j + dy, i + dx
                    if 0 <= v < height and 0 <= u < width and other[v, u] and not seen[v, u]:
                        seen[v, u] = True
                        piece[count] = v * width + u
                        count += 1
            if count < size:
                for k in range(count):
                    j, i = divmod(piece[k], width)
                    window[j, i] = label
