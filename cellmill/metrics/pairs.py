"""Which objects of two label images overlap, and by how much: a sparse table that adds up.

Everything in `cellmill.metrics` except the boundary score is computed from this table. It has one
row for each pair that overlaps, so its size grows with the objects and never with their product,
and tables of the tiles of an image add up to the table of the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.errors import BadInput
from cellmill.metrics.grouping import group_by

BAND_PIXELS = 1 << 22


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
    truth: npt.NDArray, predicted: npt.NDArray, *, origin: tuple[int, int] = (0, 0)
) -> LabelPairs:
    """Find the overlapping pairs of two label images, reading both in bands of rows.

    Args:
        truth: true labels `(Y, X)`, any integer dtype, 0 is background; may be memory-mapped.
        predicted: predicted labels of the same shape.
        origin: y, x of the arrays' first pixel, where they are a tile of something larger.

    Raises:
        BadInput: shapes differ, or labels are not integers `(Y, X)` of 0 and above.

    Example:
        >>> pairs = pair_labels(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]]))
        >>> pairs.overlaps.tolist(), pairs.ious.round(2).tolist(), len(pairs.truth)
        ([2], [0.67], 2)
    """
    check_labels(truth, "the true labels")
    check_labels(predicted, "the predicted labels")
    if truth.shape != predicted.shape:
        raise BadInput(
            "the true labels",
            expected=f"the shape of the predicted labels, {predicted.shape}",
            found=f"{truth.shape}",
        )
    height, width = truth.shape
    rows = max(1, BAND_PIXELS // max(1, width))
    return add_pairs(
        _pair_band(
            np.asarray(truth[y : y + rows]),
            np.asarray(predicted[y : y + rows]),
            (origin[0] + y, origin[1]),
        )
        for y in range(0, height, rows)
    )


def add_pairs(tables: Iterable[LabelPairs]) -> LabelPairs:
    """Add the tables of disjoint parts of an image up; an object may lie in several parts.

    Example:
        >>> truth, predicted = np.array([[3, 3], [3, 0]]), np.array([[1, 1], [1, 1]])
        >>> parts = [pair_labels(truth[:1], predicted[:1]),
        ...          pair_labels(truth[1:], predicted[1:], origin=(1, 0))]
        >>> add_pairs(parts).overlaps.tolist(), pair_labels(truth, predicted).overlaps.tolist()
        ([3], [3])
    """
    parts = list(tables)
    return _table(
        _add_objects([part.truth for part in parts]),
        _add_objects([part.predicted for part in parts]),
        _joined([part.truth.labels[part.truth_index] for part in parts]),
        _joined([part.predicted.labels[part.predicted_index] for part in parts]),
        _joined([part.overlaps for part in parts]),
        sum(part.pixels for part in parts),
    )


def check_labels(labels: npt.NDArray, what: str) -> None:
    """Refuse what cannot be a label image, by its shape and dtype alone.

    Args:
        labels: the array.
        what: how to name it in the error.

    Raises:
        BadInput: not `(Y, X)`, or not integers.
    """
    if labels.ndim != 2:
        raise BadInput(what, expected="an array (Y, X)", found=f"the shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise BadInput(what, expected="integers, one value an object", found=f"{labels.dtype}")


def _pair_band(truth: npt.NDArray, predicted: npt.NDArray, origin: tuple[int, int]) -> LabelPairs:
    """Table one band by its runs of constant (true, predicted) label along the rows."""
    width = truth.shape[1]
    flat_truth, flat_predicted = truth.ravel(), predicted.ravel()
    is_start = np.ones(truth.size, bool)
    is_start[1:] = flat_truth[1:] != flat_truth[:-1]
    is_start[1:] |= flat_predicted[1:] != flat_predicted[:-1]
    if width:
        is_start[::width] = True
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=truth.size).astype(np.int64)
    y, x = np.divmod(starts, max(1, width))
    boxes = np.stack([y, x, y + 1, x + lengths], axis=1) + np.tile(origin, 2)
    true_labels = _as_int64(flat_truth[starts], "the true labels")
    predicted_labels = _as_int64(flat_predicted[starts], "the predicted labels")
    both = (true_labels > 0) & (predicted_labels > 0)
    return _table(
        _objects(true_labels, lengths, boxes),
        _objects(predicted_labels, lengths, boxes),
        true_labels[both],
        predicted_labels[both],
        lengths[both],
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


def _add_objects(parts: list[ObjectTable]) -> ObjectTable:
    return _objects(
        _joined([part.labels for part in parts]),
        _joined([part.areas for part in parts]),
        np.concatenate([np.empty((0, 4), np.int64), *(part.boxes for part in parts)]),
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
