"""Objects found and missed when a pair must reach a given intersection over union (IoU).

Precision, recall, F1 and `TP/(TP+FP+FN)`, which the 2018 Data Science Bowl and the cell
segmentation papers after it call average precision (Caicedo et al. 2019, Nature Methods 16, 1247).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from cellmill.errors import BadInput
from cellmill.labels.pairs import LabelPairs
from cellmill.metrics.counts import count, ratio, setting

IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Matching:
    """Objects matched one to one at an IoU of at least `iou_threshold`."""

    iou_threshold: float = setting("pairs of this IoU and above may match")
    tp: int = count("matched pairs")
    fp: int = count("predicted objects without a match")
    fn: int = count("true objects without a match")
    iou_sum: float = count("sum of the matched pairs' IoU")

    @property
    def both_empty(self) -> bool:
        """Neither image has an object."""
        return self.tp + self.fp + self.fn == 0

    @property
    def precision(self) -> float:
        """TP / (TP + FP): the share of predicted objects that are matched."""
        return ratio(self.tp, self.tp + self.fp, both_empty=self.both_empty)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): the share of true objects that are matched."""
        return ratio(self.tp, self.tp + self.fn, both_empty=self.both_empty)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, both_empty=self.both_empty)

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN)."""
        return ratio(self.tp, self.tp + self.fp + self.fn, both_empty=self.both_empty)

    @property
    def mean_matched_iou(self) -> float | None:
        """The mean IoU of the matched pairs; None without one."""
        return self.iou_sum / self.tp if self.tp else None

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores, ready for JSON."""
        return {
            **asdict(self),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "average_precision": self.average_precision,
            "mean_matched_iou": self.mean_matched_iou,
        }


def match(pairs: LabelPairs, iou_threshold: float = 0.5) -> Matching:
    """Count matches at one threshold.

    Args:
        pairs: the table of overlaps.
        iou_threshold: above 0 and up to 1; pairs of exactly this IoU count.

    Raises:
        BadInput: the threshold is out of range.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> match(pair_labels(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 1, 0]])), 0.6)
        Matching(iou_threshold=0.6, tp=1, fp=0, fn=1, iou_sum=0.6666666666666666)
    """
    rows = matched_rows(pairs, iou_threshold)
    tp = len(rows)
    return Matching(
        iou_threshold=float(iou_threshold),
        tp=tp,
        fp=len(pairs.predicted) - tp,
        fn=len(pairs.truth) - tp,
        iou_sum=float(pairs.ious[rows].sum()),
    )


def match_all(
    pairs: LabelPairs, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> tuple[Matching, ...]:
    """Count matches at several thresholds, by default 0.50 to 0.95 in steps of 0.05."""
    return tuple(match(pairs, threshold) for threshold in iou_thresholds)


def matched_rows(pairs: LabelPairs, iou_threshold: float) -> npt.NDArray[np.intp]:
    """Pick the pairs that match: as many as possible, and of those choices the greatest total IoU.

    Above 0.5 an object has at most one partner, and the pairs are all that reach the threshold. At
    0.5 an object may be cut into exact halves, and below 0.5 more is possible: only objects with
    several candidates, and those tied to them, enter an assignment (sparse Jonker-Volgenant).

    Args:
        pairs: the table of overlaps.
        iou_threshold: above 0 and up to 1.

    Returns:
        Ascending row numbers of `pairs`.

    Raises:
        BadInput: the threshold is out of range.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> halves = pair_labels(np.array([[1, 1, 2, 2]]), np.array([[1, 2, 2, 2]]))
        >>> halves.ious.round(2).tolist(), matched_rows(halves, 0.5).tolist()
        ([0.5, 0.25, 0.67], [0, 2])
    """
    if not 0 < iou_threshold <= 1:
        raise BadInput("the IoU threshold", expected="above 0, at most 1", found=f"{iou_threshold}")
    ious = pairs.ious
    rows = np.flatnonzero(ious >= iou_threshold)
    if iou_threshold > 0.5:
        return rows
    truth, predicted = pairs.truth_index[rows], pairs.predicted_index[rows]
    contested = (np.bincount(truth, minlength=len(pairs.truth))[truth] > 1) | (
        np.bincount(predicted, minlength=len(pairs.predicted))[predicted] > 1
    )
    contested |= np.isin(truth, truth[contested]) | np.isin(predicted, predicted[contested])
    chosen = _assign(truth[contested], predicted[contested], ious[rows[contested]])
    return np.sort(np.concatenate([rows[~contested], rows[contested][chosen]]))


def _assign(
    truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], ious: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Match the most pairs, then the greatest IoU; every true object may also stay alone."""
    if not len(truth):
        return np.empty(0, np.intp)
    rows, row = np.unique(truth, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    # One pair more must outweigh any gain in IoU, which is below 1 for all pairs together.
    pair_cost = 1 - ious / (2 * min(len(rows), len(columns)))
    alone_row = np.arange(len(rows))
    costs = csr_array(
        (
            np.concatenate([pair_cost, np.full(len(rows), 2.0)]),
            (np.concatenate([row, alone_row]), np.concatenate([column, alone_row + len(columns)])),
        )
    )
    picked = np.stack(min_weight_full_bipartite_matching(costs), axis=1)
    wanted = {(int(y), int(x)) for y, x in picked}
    return np.flatnonzero([(int(y), int(x)) in wanted for y, x in zip(row, column, strict=True)])
