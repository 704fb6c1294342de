"""Panoptic quality: how many objects are found, times how well their outlines fit.

Kirillov et al. 2019, "Panoptic Segmentation", CVPR, equation 1: a pair matches when its IoU is
above 0.5 (at exactly 0.5 it does not).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellmill.labels.pairs import LabelPairs
from cellmill.metrics.counts import count, ratio


@dataclass(frozen=True)
class Panoptic:
    """Objects matched at an IoU above 0.5."""

    tp: int = count("pairs with an IoU above 0.5")
    fp: int = count("predicted objects without a match")
    fn: int = count("true objects without a match")
    iou_sum: float = count("sum of the matched pairs' IoU")

    @property
    def both_empty(self) -> bool:
        """Neither image has an object."""
        return self.tp + self.fp + self.fn == 0

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU / (TP + FP/2 + FN/2), which is SQ × RQ."""
        weight = self.tp + self.fp / 2 + self.fn / 2
        return ratio(self.iou_sum, weight, both_empty=self.both_empty)

    @property
    def segmentation_quality(self) -> float | None:
        """SQ, the mean IoU of the matched pairs; None without one."""
        return self.iou_sum / self.tp if self.tp else None

    @property
    def recognition_quality(self) -> float:
        """RQ, TP / (TP + FP/2 + FN/2)."""
        weight = self.tp + self.fp / 2 + self.fn / 2
        return ratio(self.tp, weight, both_empty=self.both_empty)

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores, ready for JSON."""
        return {
            **asdict(self),
            "panoptic_quality": self.panoptic_quality,
            "segmentation_quality": self.segmentation_quality,
            "recognition_quality": self.recognition_quality,
        }


def count_panoptic(pairs: LabelPairs) -> Panoptic:
    """Count what panoptic quality needs.

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> count_panoptic(pair_labels(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 1, 0]])))
        Panoptic(tp=1, fp=0, fn=1, iou_sum=0.6666666666666666)
    """
    ious = pairs.ious
    matched = ious[ious > 0.5]
    tp = len(matched)
    return Panoptic(
        tp=tp,
        fp=len(pairs.predicted) - tp,
        fn=len(pairs.truth) - tp,
        iou_sum=float(np.sum(matched)),
    )
