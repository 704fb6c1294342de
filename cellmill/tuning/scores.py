"""Scores of many segmentations of the same images, and what makes one of them the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cellmill.errors import BadInput
from cellmill.metrics import IOU_THRESHOLDS, LabelPairs, count_panoptic, match_all


class Counted(NamedTuple):
    """What is kept of one segmentation of one image; see `Scores`."""

    matched: tuple[int, ...]
    predicted: int
    true: int
    above_half: int
    iou_sum: float


def counted(pairs: LabelPairs) -> Counted:
    """Count what every objective needs."""
    panoptic = count_panoptic(pairs)
    return Counted(
        tuple(each.tp for each in match_all(pairs)),
        len(pairs.predicted),
        len(pairs.truth),
        panoptic.tp,
        panoptic.iou_sum,
    )


@dataclass(frozen=True)
class Scores:
    """Counts of `P` segmentations of some images; they add up over images.

    Attributes:
        matched: pairs at each of `IOU_THRESHOLDS`, int64 `(P, T)`.
        predicted: objects, int64 `(P,)`.
        true: objects of the truth.
        above_half: pairs with an IoU above 0.5, int64 `(P,)`.
        iou_sum: of those, float64 `(P,)`.
    """

    matched: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    true: int
    above_half: npt.NDArray[np.int64]
    iou_sum: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.predicted)

    @classmethod
    def of(cls, counts: Sequence[Counted]) -> Scores:
        """One image's segmentations; at least one."""
        return cls(
            np.array([each.matched for each in counts], np.int64),
            np.array([each.predicted for each in counts], np.int64),
            counts[0].true,
            np.array([each.above_half for each in counts], np.int64),
            np.array([each.iou_sum for each in counts], np.float64),
        )

    @classmethod
    def added(cls, images: Iterable[Scores]) -> Scores:
        """The scores of several images together; at least one."""
        every = list(images)
        return cls(
            np.sum([each.matched for each in every], axis=0),
            np.sum([each.predicted for each in every], axis=0),
            sum(each.true for each in every),
            np.sum([each.above_half for each in every], axis=0),
            np.sum([each.iou_sum for each in every], axis=0),
        )

    def followed_by(self, more: Scores) -> Scores:
        """The scores of these segmentations and of more of the same images."""
        return Scores(
            np.concatenate([self.matched, more.matched]),
            np.concatenate([self.predicted, more.predicted]),
            self.true,
            np.concatenate([self.above_half, more.above_half]),
            np.concatenate([self.iou_sum, more.iou_sum]),
        )

    def average_precision(self, iou_threshold: float) -> npt.NDArray[np.float64]:
        """TP / (TP + FP + FN), float64 `(P,)`; 1 where there is nothing and nothing is found."""
        matched = self.matched[:, IOU_THRESHOLDS.index(iou_threshold)]
        return _ratio(matched, self.true + self.predicted - matched)

    def panoptic_quality(self) -> npt.NDArray[np.float64]:
        """Sum of IoU / (TP + FP/2 + FN/2), float64 `(P,)`."""
        return _ratio(self.iou_sum, (self.true + self.predicted) / 2)

    def f1(self, iou_threshold: float) -> npt.NDArray[np.float64]:
        """2 TP / (2 TP + FP + FN), float64 `(P,)`."""
        matched = self.matched[:, IOU_THRESHOLDS.index(iou_threshold)]
        return _ratio(2 * matched, self.true + self.predicted)


def _ratio(part: npt.NDArray, whole: npt.NDArray) -> npt.NDArray[np.float64]:
    """A quotient; 1 where there is nothing to divide by: nothing is there, nothing was found."""
    return np.divide(part, whole, out=np.ones(len(part)), where=whole > 0)


def _mean_ap(scores: Scores, thresholds: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.mean([scores.average_precision(t) for t in thresholds], axis=0)


OBJECTIVES: dict[str, Callable[[Scores], npt.NDArray[np.float64]]] = {
    "ap_50_90": lambda scores: _mean_ap(scores, IOU_THRESHOLDS[:9]),
    "mean_ap": lambda scores: _mean_ap(scores, IOU_THRESHOLDS),
    "ap_50": lambda scores: scores.average_precision(0.5),
    "ap_70": lambda scores: scores.average_precision(0.7),
    "f1_50": lambda scores: scores.f1(0.5),
    "panoptic_quality": Scores.panoptic_quality,
}
"""What can be made as great as possible, by name: each gives float64 `(P,)`, 0 to 1."""

OBJECTIVE_TITLES = {
    "ap_50_90": "mean AP, IoU 0.50–0.90",
    "mean_ap": "mean AP, IoU 0.50–0.95",
    "ap_50": "AP at IoU 0.5",
    "ap_70": "AP at IoU 0.7",
    "f1_50": "F1 at IoU 0.5",
    "panoptic_quality": "panoptic quality",
}


def objective_values(groups: Mapping[str, Scores], objective: str) -> npt.NDArray[np.float64]:
    """The mean over groups of an objective pooled within each, float64 `(P,)`."""
    return np.mean([OBJECTIVES[objective](scores) for scores in groups.values()], axis=0)


def best_point(values: npt.NDArray[np.float64], eligible: npt.NDArray[np.bool_]) -> int:
    """The place of the greatest value among those that may be chosen; of equal ones the first."""
    return int(np.argmax(np.where(eligible, values, -np.inf)))


def group_of(name: str, patterns: Sequence[str]) -> str:
    """The first pattern that an image's name fits; without patterns all are one group, `""`.

    Raises:
        BadInput: it fits none.

    Example:
        >>> group_of("2023-05-31_U2OS_4", ["*RPE1*", "*U2OS*"])
        '*U2OS*'
    """
    if not patterns:
        return ""
    found = next((each for each in patterns if fnmatchcase(name, each)), None)
    if found is None:
        raise BadInput(
            "image_groups", expected=f"a pattern that '{name}' fits", found=", ".join(patterns)
        )
    return found


@dataclass(frozen=True)
class HeldOut:
    """How a choice made without a group does on it.

    Attributes:
        chosen: the point that is best on all other groups.
        value: the objective of that point on this group.
        default: the objective of the card's own parameters on this group.
    """

    chosen: int
    value: float
    default: float


def held_out(
    groups: Mapping[str, Scores], objective: str, eligible: npt.NDArray[np.bool_], default: int
) -> dict[str, HeldOut]:
    """Choose without each group in turn, and score the choice on it; empty for a single group.

    This, and not the best value of the surface, says what tuning is worth on images of a new kind.
    """
    if len(groups) < 2:
        return {}
    found = {}
    for name, scores in groups.items():
        others = {other: each for other, each in groups.items() if other != name}
        chosen = best_point(objective_values(others, objective), eligible)
        own = OBJECTIVES[objective](scores)
        found[name] = HeldOut(chosen, float(own[chosen]), float(own[default]))
    return found
