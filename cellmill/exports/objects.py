"""Objects of a label image as exports take them: rows of a table, outlined band by band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.exports.outlines import Polygon, polygons_of, simplified

_BOX = ("bbox_y0_px", "bbox_y1_px", "bbox_x0_px", "bbox_x1_px")
#: Pixels of a label image that are held at once.
_BAND = 1 << 24


@dataclass(frozen=True)
class Objects:
    """The rows of one kind of object, by label.

    Attributes:
        rows: its part of the table, in the order of labels.
        labels: `(N,)` int64.
        boxes: `(N, 4)` int64: first and one past the last row, and column.
    """

    rows: pa.Table
    labels: np.ndarray
    boxes: np.ndarray


def objects_of(table: pa.Table, kind: str) -> Objects:
    """Take one kind of object out of a table, as `cellmill.measurement` makes it."""
    chosen = table.filter(pa.compute.equal(table["compartment"], kind))
    order = np.argsort(np.asarray(chosen["label"]), kind="stable")
    if (np.diff(order) != 1).any():
        chosen = chosen.take(order)
    boxes = np.stack([np.asarray(chosen[each], np.int64) for each in _BOX], axis=-1)
    return Objects(chosen, np.asarray(chosen["label"], np.int64), boxes)


def outlines_of(
    array: Windowed, objects: Objects, rows: Sequence[int] | np.ndarray, tolerance: float = 0.0
) -> Iterator[tuple[Polygon, ...]]:
    """Give the polygons of some objects, in order, from bands of the label image.

    Args:
        array: label image `(Y, X)`.
        objects: its objects.
        rows: which of them, by their places; neighbours in the image best follow one another.
        tolerance: see `cellmill.exports.outlines.simplified`.

    Raises:
        BadInput: an object of the table is not in the label image.
    """
    height = max(1, _BAND // max(array.shape[1], 1))
    start = stop = 0
    band = np.zeros((0, array.shape[1]), array.dtype)
    for row in rows:
        y0, y1, x0, x1 = (int(edge) for edge in objects.boxes[row])
        if y0 < start or y1 > stop:
            start, stop = y0, min(max(y0 + height, y1), array.shape[0])
            band = np.asarray(array[start:stop])
        label = int(objects.labels[row])
        found = polygons_of(band, label, (y0, y1, x0, x1), (start, 0))
        if not found:
            raise BadInput(
                "measurements", expected="those of these labels", found=f"no object {label}"
            )
        yield tuple(simplified(polygon, tolerance) for polygon in found)
