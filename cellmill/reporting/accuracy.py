"""Scores against truth as pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cellmill.labels.kinds import plural
from cellmill.reporting.charts import lines
from cellmill.reporting.text import fixed, number

_HEADS = ("IoU ≥", "TP", "FP", "FN", "Precision", "Recall", "F1", "AP", "Mean matched IoU")
_RATIOS = ("precision", "recall", "f1", "average_precision", "mean_matched_iou")
_CURVES = {"f1": "F1", "average_precision": "average precision"}
_ERRORS = {
    "correct_detections": "Correct",
    "missed_detections": "Missed",
    "gained_detections": "Gained",
    "split": "Splits",
    "merge": "Merges",
    "catastrophe": "Catastrophes",
    "missed_det_from_merge": "Missed in merges",
    "gained_det_from_split": "Gained in splits",
    "true_det_in_catastrophe": "True, in catastrophes",
    "pred_det_in_catastrophe": "Segmented, in catastrophes",
}
_ERROR_SCORES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "seg": "SEG"}


@dataclass(frozen=True)
class Line:
    """A line of a table, as text; `compat` is what DeepCell itself would say."""

    title: str
    value: str
    compat: str = ""


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one compartment, as text ready to be shown."""

    title: str
    f1_50: str
    ap_50: str
    chart: Markup
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    summary: tuple[Line, ...]
    errors: tuple[Line, ...]


def at_half(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry of `matching` for an IoU of 0.5."""
    rows = scores["matching"]
    return next((row for row in rows if abs(row["iou_threshold"] - 0.5) < 1e-6), rows[0])


def accuracy_of(compartment: str, scores: Mapping[str, Any], one: str = "pixel") -> Accuracy:
    """Prepare scores for a page.

    Args:
        compartment: what was segmented.
        scores: as `cellmill.metrics.evaluate` gives them, of one image or pooled.
        one: what they count, `pixel` or `voxel`.
    """
    rows = scores["matching"]
    half = at_half(scores)
    curves = {title: [row[key] for row in rows] for key, title in _CURVES.items()}
    thresholds = [row["iou_threshold"] for row in rows]
    return Accuracy(
        title=plural(compartment).capitalize(),
        f1_50=fixed(half["f1"]),
        ap_50=fixed(half["average_precision"]),
        chart=Markup(lines(thresholds, curves, "IoU threshold", "")),
        heads=_HEADS,
        rows=tuple(
            (
                f"{row['iou_threshold']:.2f}",
                *(number(row[key]) for key in ("tp", "fp", "fn")),
                *(fixed(row[key]) for key in _RATIOS),
            )
            for row in rows
        ),
        summary=(
            Line("True objects", number(scores["n_truth"])),
            Line("Segmented objects", number(scores["n_predicted"])),
            Line("Mean AP, IoU 0.50–0.95", fixed(scores["mean_average_precision"])),
            Line("Panoptic quality", fixed(scores["panoptic_quality"])),
            Line("Aggregated Jaccard (AJI)", fixed(scores["aji"])),
            Line("Boundary F1", fixed(scores["boundary"]["f1"])),
            Line(f"{one.capitalize()} Jaccard", fixed(scores["pixels"]["jaccard"])),
            Line(f"{one.capitalize()} Dice", fixed(scores["pixels"]["dice"])),
        ),
        errors=_errors(scores["object_errors"]),
    )


def _errors(found: Mapping[str, Any]) -> tuple[Line, ...]:
    compat = {**found, **found["deepcell_compat"]}
    counts = [Line(t, number(found[k]), number(compat[k])) for k, t in _ERRORS.items()]
    scores = [Line(t, fixed(found[k]), fixed(compat[k])) for k, t in _ERROR_SCORES.items()]
    return (*counts, *scores)
