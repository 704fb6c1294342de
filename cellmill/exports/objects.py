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
from cellmill.exports.tables import TableInParts, in_parts

_BOX = ("bbox_y0_px", "bbox_y1_px", "bbox_x0_px", "bbox_x1_px")
#: Objects of which figures are asked for at once.
_BLOCK = 1 << 12
#: Pixels of a label image that are held at once.
_BAND = 1 << 24


@dataclass(frozen=True)
class Objects:
    """The rows of one kind of object, by label.

    Attributes:
        table: what is known of them.
        at: `(N,)` int64: their rows of the table.
        labels: `(N,)` int64, ascending.
    """

    table: TableInParts
    at: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def numbers(self, places: np.ndarray, columns: Sequence[str]) -> np.ndarray:
        """Columns `(C, N)` float64 of some of the objects, NaN where there is no figure."""
        return self.table.numbers(self.at[places], columns)


def objects_of(table: pa.Table | TableInParts, kind: str) -> Objects:
    """Take one kind of object out of a table, as `cellmill.measurement` makes it."""
    parts = in_parts(table)
    at: list[np.ndarray] = [np.zeros(0, np.int64)]
    labels: list[np.ndarray] = [np.zeros(0, np.int64)]
    start = 0
    for part in parts.parts(["compartment", "label"]):
        chosen = np.flatnonzero(np.asarray(pa.compute.equal(part["compartment"], kind)))
        at.append(start + chosen)
        labels.append(np.asarray(part["label"], np.int64)[chosen])
        start += len(part)
    found = np.concatenate(labels)
    order = np.argsort(found, kind="stable")
    return Objects(parts, np.concatenate(at)[order], found[order])


def outlines_of(
    array: Windowed, objects: Objects, rows: np.ndarray, tolerance: float = 0.0
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
    for row, (y0, y1, x0, x1) in zip(rows, _boxes(objects, rows), strict=True):
        if y0 < start or y1 > stop:
            # Nuclei follow their cells, and one may begin above the one before it.
            start = max(y0 - height // 8, 0)
            stop = min(max(start + height, y1), array.shape[0])
            band = np.asarray(array[start:stop])
        label = int(objects.labels[row])
        found = polygons_of(band, label, (y0, y1, x0, x1), (start, 0))
        if not found:
            raise BadInput(
                "measurements", expected="those of these labels", found=f"no object {label}"
            )
        yield tuple(simplified(polygon, tolerance) for polygon in found)


def blocks_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into parts of which all figures may be held."""
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _boxes(objects: Objects, rows: np.ndarray) -> Iterator[list[int]]:
    for block in blocks_of(rows):
        boxes = objects.numbers(block, _BOX).astype(np.int64)
        for edges in zip(*(column.tolist() for column in boxes), strict=True):
            yield list(edges)
