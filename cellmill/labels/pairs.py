"""Which objects of two label images overlap, and by how much: a sparse table that adds up.

Everything in `cellmill.metrics` except the boundary score is computed from this table. It has one
row for each pair that overlaps, so its size grows with the objects and never with their product,
and tables of the tiles of an image add up to the table of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from cellmill.arrays.rows import Band, RowReader, read_windows, row_bands
from cellmill.arrays.windows import Windowed, sections_of
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.labels.grouping import RunningSum, group_by
from cellmill.labels.runs import find_runs, parts

MEMORY_MIB = 1024
#: What the work on a band takes for a pixel beside the labels, as measured.
_BYTES_PER_PIXEL = 24


@dataclass(frozen=True)
class ObjectTable:
    """The objects of one label image, by ascending label.

    Args:
        labels: int64 `(N,)`, all above 0.
        areas: pixels, int64 `(N,)`.
        boxes: half-open bounding boxes y0, x0, y1, x1 in pixels, int64 `(N, 4)`.
    """

    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabelPairs:
    """The objects of a true and a predicted label image and the overlaps between them.

    Args:
        truth: the true objects.
        predicted: the predicted objects.
        truth_index: for each overlapping pair, its row in `truth`, `(K,)`; pairs are sorted by
            true, then by predicted label.
        predicted_index: its row in `predicted`, `(K,)`.
        overlaps: pixels that the two share, int64 `(K,)`, all above 0.
        pixels: all pixels of the image, background included.
    """

    truth: ObjectTable
    predicted: ObjectTable
    truth_index: npt.NDArray[np.intp]
    predicted_index: npt.NDArray[np.intp]
    overlaps: npt.NDArray[np.int64]
    pixels: int

    def __len__(self) -> int:
        return len(self.overlaps)

    @property
    def background_pixels(self) -> int:
        """Pixels in no true object."""
        return self.pixels - int(self.truth.areas.sum())

    @property
    def unions(self) -> npt.NDArray[np.int64]:
        """Pixels in either object of each pair, `(K,)`."""
        both = self.truth.areas[self.truth_index] + self.predicted.areas[self.predicted_index]
        return both - self.overlaps

    @property
    def ious(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair, `(K,)`.

        A quotient of two integers compares with a threshold such as 0.55 as the exact fraction
        would: both are rounded once, and 11/20 rounds to the same float as 0.55.
        """
        return self.overlaps / self.unions


def pair_labels(
    truth: Windowed,
    predicted: Windowed,
    *,
    origin: tuple[int, int] = (0, 0),
    memory_mib: float = MEMORY_MIB,
) -> LabelPairs:
    """Find the overlapping pairs of two label images, reading both in bands of rows.

    Args:
        truth: true labels `(Y, X)`, or `(Z, Y, X)`, whose boxes are those seen along Z; any integer
            dtype, 0 is background.
        predicted: predicted labels of the same shape.
        origin: y, x of the arrays' first pixel, where they are a tile of something larger.
        memory_mib: what this may take beside the tables of objects.

    Raises:
        BadInput: shapes differ, or labels are not integers `(Y, X)` of 0 and above.

    Example:
        >>> pairs = pair_labels(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]]))
        >>> pairs.overlaps.tolist(), pairs.ious.round(2).tolist(), len(pairs.truth)
        ([2], [0.67], 2)
    """
    check_pair(truth, predicted, volumes=True)

    total = RunningSum(add_pairs, table_rows)
    for band, true, pred in read_pair(truth, predicted, memory_mib=memory_mib):
        top = origin[0] + band.window.start
        work = partial(pair_rows, true, pred, (top, origin[1]))
        for table in in_threads(work, parts(band.inner, true.shape[1])):
            total.add(table)
    return total.total()


def read_pair(
    truth: Windowed, predicted: Windowed, *, memory_mib: float, halo: int = 0
) -> Iterator[tuple[Band, npt.NDArray, npt.NDArray]]:
    """Read two label images band by band, with a halo of rows; each band and its two windows.

    Of volumes plane by plane, each in bands.
    """
    labels = truth.dtype.itemsize + predicted.dtype.itemsize
    bands = row_bands(
        (truth.shape[-2], truth.shape[-1]),
        bytes_per_pixel=2 * labels + _BYTES_PER_PIXEL,
        memory_mib=memory_mib,
        halo=halo,
    )
    for planes in zip(sections_of(truth), sections_of(predicted), strict=True):
        readers = [RowReader(plane) for plane in planes]
        for band, following in zip_longest(bands, bands[1:]):
            true, pred = read_windows(readers, band, following)
            yield band, true, pred


def add_pairs(tables: Iterable[LabelPairs]) -> LabelPairs:
    """Add the tables of disjoint parts of an image up; an object may lie in several parts.

    Example:
        >>> truth, predicted = np.array([[3, 3], [3, 0]]), np.array([[1, 1], [1, 1]])
        >>> two = [pair_labels(truth[:1], predicted[:1]),
        ...        pair_labels(truth[1:], predicted[1:], origin=(1, 0))]
        >>> add_pairs(two).overlaps.tolist(), pair_labels(truth, predicted).overlaps.tolist()
        ([3], [3])
    """
    added = list(tables)
    return _table(
        _add_objects([part.truth for part in added]),
        _add_objects([part.predicted for part in added]),
        _joined([part.truth.labels[part.truth_index] for part in added]),
        _joined([part.predicted.labels[part.predicted_index] for part in added]),
        _joined([part.overlaps for part in added]),
        sum(part.pixels for part in added),
    )


def table_rows(table: LabelPairs) -> int:
    """Rows of a table's pairs and objects together."""
    return len(table) + len(table.truth) + len(table.predicted)


def check_pair(truth: Windowed, predicted: Windowed, *, volumes: bool = False) -> None:
    """Refuse what cannot be two label images of one shape, by shapes and dtypes alone.

    Args:
        truth: the true labels.
        predicted: the predicted ones.
        volumes: whether they may be `(Z, Y, X)`.

    Raises:
        BadInput: shapes differ, or one is not `(Y, X)` or not of integers.
    """
    check_labels(truth, "the true labels", volumes=volumes)
    check_labels(predicted, "the predicted labels", volumes=volumes)
    if tuple(truth.shape) != tuple(predicted.shape):
        raise BadInput(
            "the true labels",
            expected=f"the shape of the predicted labels, {tuple(predicted.shape)}",
            found=f"{tuple(truth.shape)}",
        )


def check_labels(labels: Windowed, what: str, *, volumes: bool = False) -> None:
    """Refuse what cannot be a label image, by its shape and dtype alone.

    Args:
        labels: the array.
        what: how to name it in the error.
        volumes: whether it may be `(Z, Y, X)`.

    Raises:
        BadInput: not `(Y, X)`, or not integers.
    """
    if len(labels.shape) != 2 and not (volumes and len(labels.shape) == 3):
        expected = "an array (Y, X)" + " or (Z, Y, X)" * volumes
        raise BadInput(what, expected=expected, found=f"the shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise BadInput(what, expected="integers, one value an object", found=f"{labels.dtype}")


def pair_rows(
    truth: npt.NDArray, predicted: npt.NDArray, origin: tuple[int, int], rows: slice
) -> LabelPairs:
    """Table some rows of two label images, in memory, by the runs along them.

    Args:
        truth: true labels `(Y, X)`.
        predicted: predicted labels of the same shape.
        origin: y, x of the arrays' first pixel.
        rows: the rows to table.

    Raises:
        BadInput: a label is below 0 or above 2^63-1.
    """
    truth, predicted = truth[rows], predicted[rows]
    runs = find_runs(truth, predicted)
    boxes = runs.boxes + np.tile([origin[0] + rows.start, origin[1]], 2)
    true_labels = _as_int64(runs.labels, "the true labels")
    predicted_labels = _as_int64(predicted[runs.y, runs.x], "the predicted labels")
    both = (true_labels > 0) & (predicted_labels > 0)
    return _table(
        _objects(true_labels, runs.lengths, boxes),
        _objects(predicted_labels, runs.lengths, boxes),
        true_labels[both],
        predicted_labels[both],
        runs.lengths[both],
        truth.size,
    )


def _as_int64(labels: npt.NDArray, what: str) -> npt.NDArray[np.int64]:
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int64).max):
        bad = labels.min() if labels.min() < 0 else labels.max()
        raise BadInput(what, expected="labels from 0 to 2^63-1", found=f"{bad}")
    return labels.astype(np.int64)


def _objects(labels: npt.NDArray, areas: npt.NDArray, boxes: npt.NDArray) -> ObjectTable:
    real = labels > 0
    groups = group_by(labels[real])
    low, high = groups.min(boxes[real, :2]), groups.max(boxes[real, 2:])
    return ObjectTable(groups.keys, groups.sum(areas[real]), np.concatenate([low, high], axis=1))


def _add_objects(tables: list[ObjectTable]) -> ObjectTable:
    return _objects(
        _joined([part.labels for part in tables]),
        _joined([part.areas for part in tables]),
        np.concatenate([np.empty((0, 4), np.int64), *(part.boxes for part in tables)]),
    )


def _table(
    truth: ObjectTable,
    predicted: ObjectTable,
    true_labels: npt.NDArray,
    predicted_labels: npt.NDArray,
    overlaps: npt.NDArray,
    pixels: int,
) -> LabelPairs:
    truth_row = np.searchsorted(truth.labels, true_labels)
    predicted_row = np.searchsorted(predicted.labels, predicted_labels)
    columns = max(1, len(predicted))
    groups = group_by(truth_row * columns + predicted_row)
    truth_index, predicted_index = np.divmod(groups.keys, columns)
    return LabelPairs(truth, predicted, truth_index, predicted_index, groups.sum(overlaps), pixels)


def _joined(arrays: list[npt.NDArray]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *arrays])
