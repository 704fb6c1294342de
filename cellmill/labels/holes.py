"""Outlines of objects, and filling their holes as the reference does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellmill.compute.kernels import inlined, kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput
from cellmill.labels.numbering import checked_labels


class Outlines(NamedTuple):
    """What is known of the objects of a label image, a row for every id from 0 on.

    Attributes:
        areas: pixels, int64; 0 for ids that do not occur.
        first: flat index `y * width + x` of the first pixel in raster order, int64.
        boxes: `(ids, 4)` int64 `y0, y1, x0, x1`.
        eulers: Euler numbers, pixels joined over edges and corners, int64.
    """

    areas: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    eulers: np.ndarray


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
        BadInput: the labels are not two-dimensional, not integers, or one is negative.

    Example:
        >>> ring = np.array([[7, 7, 7], [7, 0, 7], [7, 7, 7]])
        >>> fill_holes(ring, 2).tolist()
        [[7, 7, 7], [7, 7, 7], [7, 7, 7]]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise BadInput("labels to fill holes in", expected="(Y, X)", found=f"{labels.ndim}-D")
    counted = checked_labels(labels)
    if size <= 1:
        return labels
    filled = counted.copy()
    fill_objects(filled, outlines(counted), size)
    return filled.view(labels.dtype)


def fill_box(window: np.ndarray, label: int, size: float, part: tuple[slice, ...]) -> None:
    """Give a label those pieces of its box, joined over faces, that begin in a part of a window.

    Args:
        window: `(Y, X)` labels, written to; the object's whole box, or a part of it and so many
            pixels around as a piece may have.
        label: the object's.
        size: pieces of fewer pixels are given to it.
        part: where the first pixel found of a piece must lie, rows and columns of the window.
    """
    rows, columns = part
    places = _small_pieces(window, label, size, rows.start, rows.stop, columns.start, columns.stop)
    window[np.divmod(places, window.shape[1])] = label


def outlines(labels: np.ndarray, highest: int | None = None) -> Outlines:
    """Describe every object, in one go over the image.

    Source of the Euler numbers: counts of 2 × 2 patterns, S. B. Gray, IEEE Trans. Computers C-20
    (1971). They add up over parts of an image.

    Args:
        labels: `(Y, X)`, integer, not negative, ids not far above the pixel count.
        highest: no id is above it; `None` looks for it.
    """
    cuts = bands(labels.shape[0])
    if highest is None:
        highest = int(max(in_threads(lambda cut: labels[slice(*cut)].max(initial=0), cuts)))
    parts = in_threads(lambda cut: _outline(labels, *cut, highest), cuts)
    areas, first, boxes, quads = (np.stack(columns) for columns in zip(*parts, strict=True))
    starts, ends = boxes[..., 0::2].min(axis=0), boxes[..., 1::2].max(axis=0)
    joined = np.stack([starts[:, 0], ends[:, 0], starts[:, 1], ends[:, 1]], axis=1)
    return Outlines(areas.sum(axis=0), first.min(axis=0), joined, quads.sum(axis=0) // 4)


def fill_objects(labels: np.ndarray, found: Outlines, size: float) -> None:
    """Fill holes as `fill_holes` does, in place.

    Args:
        labels: `(Y, X)`, integer, written to.
        found: their outlines before any filling; objects of area 0 are left alone. Areas become
            wrong; first pixels are kept right, and an object that vanished has area 0.
        size: pieces of fewer pixels are filled.
    """
    holed = np.flatnonzero((found.eulers < 1) & (found.areas > 0))
    _fill_objects(labels, holed[holed > 0], size, found.areas, found.first, found.boxes)


@kernel
def _outline(labels, start, stop, highest):  # type: ignore[no-untyped-def]
    """Of the pixels in rows `start` to `stop`; 4 × Euler number from quads that end there."""
    height, width = labels.shape
    areas = np.zeros(highest + 1, np.int64)
    first = np.full(highest + 1, height * width)
    boxes = np.zeros((highest + 1, 4), np.int64)
    boxes[:, 0] = height
    boxes[:, 2] = width
    quads = np.zeros(highest + 1, np.int64)
    nothing = np.zeros(width, labels.dtype)
    differs = np.zeros(width + 8, np.uint8)
    words = differs[: (width + 7) // 8 * 8].view(np.uint64)
    for y in range(start, height + 1 if stop == height else stop):
        above = labels[y - 1] if y > 0 else nothing
        here = labels[y] if y < height else nothing
        differs[0] = 1
        for x in range(1, width):
            differs[x] = (here[x] != here[x - 1]) | (above[x] != above[x - 1])
        begin, left, left_above = 0, np.int64(0), np.int64(0)
        for word in range(len(words)):
            if not words[word]:
                continue
            for x in range(8 * word, 8 * word + 8):
                if not differs[x]:
                    continue
                if left != here[x]:
                    if left:
                        _add_run(left, y, begin, x, width, areas, first, boxes)
                    begin = x
                add_quad(left_above, np.int64(above[x]), left, np.int64(here[x]), quads)
                left, left_above = np.int64(here[x]), np.int64(above[x])
        if left:
            _add_run(left, y, begin, width, width, areas, first, boxes)
        add_quad(left_above, np.int64(0), left, np.int64(0), quads)
    return areas, first, boxes, quads


@inlined
def _add_run(label, y, begin, end, width, areas, first, boxes):  # type: ignore[no-untyped-def]
    if areas[label] == 0:
        first[label] = y * width + begin
        boxes[label, 0] = y
    areas[label] += end - begin
    boxes[label, 1] = y + 1
    boxes[label, 2] = min(boxes[label, 2], begin)
    boxes[label, 3] = max(boxes[label, 3], end)


@kernel
def add_quad(left_above, above, left, here, quads):  # type: ignore[no-untyped-def]
    """Add what 2 × 2 pixels do to 4 × the Euler number of each label among them."""
    if here == above and left == left_above:
        return
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


@kernel
def _fill_objects(labels, holed, size, areas, first, boxes):  # type: ignore[no-untyped-def]
    changed = np.zeros(len(areas), np.bool_)
    for label in holed:
        y0, y1, x0, x1 = boxes[label]
        window = labels[y0:y1, x0:x1]
        places = _small_pieces(window, label, size, 0, y1 - y0, 0, x1 - x0)
        changed[label] |= len(places) > 0
        for place in places:
            j, i = divmod(place, x1 - x0)
            changed[window[j, i]] = True
            window[j, i] = label
    for label in range(1, len(areas)):
        if changed[label] and areas[label]:
            first[label] = _first_in(labels, label, boxes[label])
            if first[label] < 0:
                areas[label] = 0


@kernel
def _first_in(labels, label, box):  # type: ignore[no-untyped-def]
    """Place of the first pixel of a label within a box, -1 if there is none."""
    for y in range(box[0], box[1]):
        for x in range(box[2], box[3]):
            if labels[y, x] == label:
                return y * labels.shape[1] + x
    return -1


@kernel
def _small_pieces(window, label, size, top, bottom, left, right):  # type: ignore[no-untyped-def]
    """Places, in the window laid flat, of the pieces that are to be filled."""
    height, width = window.shape
    seen = np.zeros((height, width), np.bool_)
    places = np.empty(height * width, np.int64)
    begin = 0
    other = window != label
    for y in range(top, bottom):
        for x in range(left, right):
            if seen[y, x] or not other[y, x]:
                continue
            seen[y, x] = True
            places[begin] = y * width + x
            end, done = begin + 1, begin
            while done < end:
                j, i = divmod(places[done], width)
                done += 1
                for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
                    v, u = j + dy, i + dx
                    if 0 <= v < height and 0 <= u < width and other[v, u] and not seen[v, u]:
                        seen[v, u] = True
                        places[end] = v * width + u
                        end += 1
            if end - begin < size:
                begin = end
    return places[:begin]
