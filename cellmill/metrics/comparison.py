"""Scores of several segmentations of the same images, with how sure one can be of them.

A score is pooled over images, from counts added up. How much it depends on which images they
happen to be is told by the bootstrap (Efron, Annals of Statistics 7, 1979): images are drawn anew
with replacement, the same ones for every segmentation, so that differences have intervals too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 2000
CONFIDENCE = 0.95
#: Of fewer images there is nothing to draw.
LEAST_IMAGES = 2

Counts = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A score, and the interval in which it lies for most draws of images.

    Attributes:
        value: of all images.
        low: lower end; none where there are too few images.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """As JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ComparedScores:
    """One segmentation's scores.

    Attributes:
        scores: by name, see `SCORE_TITLES`.
        behind: how far each is below that of the segmentation with the best `ap_50`; none for it.
    """

    scores: Mapping[str, Estimate]
    behind: Mapping[str, Estimate] | None


#: What is compared, by name: its title.
SCORE_TITLES = {
    "ap_50": "AP at IoU 0.5",
    "ap_75": "AP at IoU 0.75",
    "mean_ap": "mean AP, IoU 0.50–0.95",
    "f1_50": "F1 at IoU 0.5",
    "panoptic_quality": "PQ",
    "aji": "AJI",
    "boundary_f1": "boundary F",
}


def compare_scores(
    results: Mapping[str, Sequence[Mapping[str, Any]]], draws: int = DRAWS, seed: int = 0
) -> dict[str, ComparedScores]:
    """Pool each segmentation's scores over the same images.

    Args:
        results: by segmentation what `evaluate` gave for each image, all in one order of images.
        draws: how often images are drawn anew.
        seed: of the draws.

    Example:
        >>> from cellmill.metrics import evaluate
        >>> truth = np.array([[1, 1, 0, 2]])
        >>> half = evaluate(truth, truth * (truth == 1))
        >>> found = compare_scores({"all": [evaluate(truth, truth)] * 2, "half": [half] * 2})
        >>> found["half"].scores["ap_50"], found["half"].behind["ap_50"].value
        (Estimate(value=0.5, low=0.5, high=0.5), 0.5)
    """
    count = len(next(iter(results.values())))
    whole = np.ones((1, count))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    tables = {name: _table(each) for name, each in results.items()}
    found = {name: _scores(whole, table) for name, table in tables.items()}
    spread = {name: _scores(drawn, table) for name, table in tables.items()}
    enough = count >= LEAST_IMAGES
    best = max(found, key=lambda name: float(found[name]["ap_50"][0]))

    def estimate(value: np.ndarray, values: np.ndarray) -> Estimate:
        if not enough:
            return Estimate(float(value[0]))
        ends = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Estimate(float(value[0]), float(ends[0]), float(ends[1]))

    return {
        name: ComparedScores(
            {key: estimate(found[name][key], spread[name][key]) for key in SCORE_TITLES},
            None
            if name == best
            else {
                key: estimate(
                    found[best][key] - found[name][key], spread[best][key] - spread[name][key]
                )
                for key in SCORE_TITLES
            },
        )
        for name in results
    }


#: Counts that scores are made of beside those of matching, by section of `evaluate`'s result.
_COUNTS = {
    "panoptic": ("tp", "fp", "fn", "iou_sum"),
    "aggregated_jaccard": ("intersection", "union"),
    "boundary": ("truth_pixels", "truth_matched", "predicted_pixels", "predicted_matched"),
}


def _table(results: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Counts by name, `(images, thresholds)` or `(images, 1)`."""
    found = {
        key: np.array([[each[key] for each in result["matching"]] for result in results], float)
        for key in ("tp", "fp", "fn")
    }
    for section, keys in _COUNTS.items():
        for key in keys:
            values = [[result[section][key]] for result in results]
            found[f"{section}_{key}"] = np.array(values, float)
    return found


def _scores(weights: np.ndarray, table: Counts) -> dict[str, np.ndarray]:
    """Scores of some draws, `(draws,)` each, from how often each draw has each image."""
    sums = {name: weights @ counts for name, counts in table.items()}
    tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
    precision = _ratio(tp, tp + fp + fn)
    loose = sums["panoptic_tp"] + (sums["panoptic_fp"] + sums["panoptic_fn"]) / 2
    near = [
        _ratio(sums[f"boundary_{side}_matched"], sums[f"boundary_{side}_pixels"])
        for side in ("truth", "predicted")
    ]
    # As `evaluate` has it: what is empty on one side alone scores 0.
    lone = (sums["boundary_truth_pixels"] == 0) != (sums["boundary_predicted_pixels"] == 0)
    boundary = np.where(lone, 0, _f_score(*near))
    thresholds = precision.shape[1]
    return {
        "ap_50": precision[:, 0],
        "ap_75": precision[:, thresholds // 2],
        "mean_ap": precision.mean(axis=1),
        "f1_50": _ratio(2 * tp, 2 * tp + fp + fn)[:, 0],
        "panoptic_quality": _ratio(sums["panoptic_iou_sum"], loose)[:, 0],
        "aji": _ratio(sums["aggregated_jaccard_intersection"], sums["aggregated_jaccard_union"])[
            :, 0
        ],
        "boundary_f1": boundary[:, 0],
    }


def _f_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Parts of wholes; 1 where there is nothing."""
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
