"""Which objects several segmentations of one image find, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.labels.pairs import MEMORY_MIB, pair_labels
from cellmill.metrics.matching import matched_rows

#: A true object is found by an object that shares at least this part of their union with it.
FOUND_IOU = 0.5


@dataclass(frozen=True)
class FoundObjects:
    """What one segmentation found of an image's true objects, in order of their labels.

    Attributes:
        labels: of the true objects, int64 `(N,)`.
        boxes: half-open bounding boxes y0, x0, y1, x1 in pixels, int64 `(N, 4)`.
        found: bool `(N,)`, whether an object of the segmentation matches.
        best_iou: float64 `(N,)`, the greatest IoU with any object of the segmentation.
        matching: labels of the segmentation's objects that match one, int64.
    """

    labels: np.ndarray
    boxes: np.ndarray
    found: np.ndarray
    best_iou: np.ndarray
    matching: np.ndarray


def find_true_objects(
    truth: Windowed, predicted: Windowed, memory_mib: float = MEMORY_MIB
) -> FoundObjects:
    """Say of each true object whether a segmentation found it.

    Args:
        truth: true labels `(Y, X)`, any integer dtype, 0 is background.
        predicted: predicted labels of the same shape.
        memory_mib: what this may take beside the tables of objects.

    Raises:
        BadInput: shapes differ, or an array is no label image.

    Example:
        >>> found = find_true_objects(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 0, 0]]))
        >>> found.labels.tolist(), found.found.tolist(), found.matching.tolist()
        ([1, 2], [True, False], [5])
    """
    pairs = pair_labels(truth, predicted, memory_mib=memory_mib)
    rows = matched_rows(pairs, FOUND_IOU)
    found = np.zeros(len(pairs.truth), bool)
    found[pairs.truth_index[rows]] = True
    best = np.zeros(len(pairs.truth))
    np.maximum.at(best, pairs.truth_index, pairs.ious)
    matching = pairs.predicted.labels[pairs.predicted_index[rows]]
    return FoundObjects(pairs.truth.labels, pairs.truth.boxes, found, best, matching)


def differing_objects(each: Mapping[str, FoundObjects]) -> np.ndarray:
    """Find true objects of an image that some segmentations find and others do not.

    Args:
        each: by segmentation, of one truth.

    Returns:
        Their places in the tables, int64, those of which the IoU differs most first.

    Example:
        >>> truth = np.array([[1, 1, 0, 2]])
        >>> one = find_true_objects(truth, truth)
        >>> other = find_true_objects(truth, truth * (truth == 1))
        >>> differing_objects({"one": one, "other": other}).tolist()
        [1]
    """
    found = np.stack([table.found for table in each.values()])
    ious = np.stack([table.best_iou for table in each.values()])
    places = np.flatnonzero(found.any(axis=0) & ~found.all(axis=0))
    return places[np.argsort(-np.ptp(ious, axis=0)[places], kind="stable")]
