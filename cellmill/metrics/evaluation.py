"""All scores of a prediction against the truth, of one image and pooled over many.

`evaluate` and `pool` give what `metrics.json` holds, and `FIELDS` says what each entry means; a
test keeps the two equal. Scores lie between 0 and 1 and 1 is best. Two empty images agree: their
scores are 1. One empty image against one with objects scores 0. Means over matched pairs are null
where nothing matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.labels.grouping import RunningSum
from cellmill.labels.pairs import (
    MEMORY_MIB,
    LabelPairs,
    add_pairs,
    check_pair,
    pair_rows,
    read_pair,
    table_rows,
)
from cellmill.labels.runs import parts
from cellmill.metrics.aji import AggregatedJaccard, aggregated_jaccard
from cellmill.metrics.boundary import Boundary, BoundaryMatcher
from cellmill.metrics.counts import add_counts, counts_from
from cellmill.metrics.matching import Matching, match_all
from cellmill.metrics.object_errors import ObjectErrors, classify_errors
from cellmill.metrics.panoptic import Panoptic, count_panoptic
from cellmill.metrics.pixels import Pixels, pixel_overlap

FORMAT = "cellmill-metrics/1"

SCORES: dict[str, str] = {
    "mean_average_precision": "mean of matching[].average_precision over the thresholds",
    "panoptic_quality": "sum of IoU / (TP + FP/2 + FN/2), pairs with an IoU above 0.5",
    "aji": "aggregated Jaccard index (Kumar 2017)",
    "matching[].precision": "TP / (TP + FP)",
    "matching[].recall": "TP / (TP + FN)",
    "matching[].f1": "2 TP / (2 TP + FP + FN)",
    "matching[].average_precision": "TP / (TP + FP + FN)",
    "matching[].mean_matched_iou": "mean IoU of the matched pairs, or null",
    "panoptic.panoptic_quality": "PQ, as above",
    "panoptic.segmentation_quality": "SQ: mean IoU of the matched pairs, or null",
    "panoptic.recognition_quality": "RQ: TP / (TP + FP/2 + FN/2)",
    "aggregated_jaccard.aji": "intersection / union",
    "boundary.precision": "share of the predicted boundary near a true one",
    "boundary.recall": "share of the true boundary near a predicted one",
    "boundary.f1": "harmonic mean of the two",
    "pixels.jaccard": "foreground pixels in both / in either",
    "pixels.dice": "2 × foreground pixels in both / sum of the two",
    "object_errors.precision": "correct detections / predicted objects",
    "object_errors.recall": "correct detections / true objects",
    "object_errors.f1": "harmonic mean of the two",
    "object_errors.seg": "mean over true objects of the IoU with the object covering over half",
    "object_errors.deepcell_compat.precision": "as DeepCell 0.12 reports it",
    "object_errors.deepcell_compat.recall": "as DeepCell 0.12 reports it",
    "object_errors.deepcell_compat.f1": "as DeepCell 0.12 reports it",
    "object_errors.deepcell_compat.seg": "as DeepCell 0.12 reports it, or null",
}
"""The entries that are scores, averaged over images in `per_image_mean`."""

_SECTIONS: dict[str, type] = {
    "matching[]": Matching,
    "panoptic": Panoptic,
    "aggregated_jaccard": AggregatedJaccard,
    "boundary": Boundary,
    "pixels": Pixels,
    "object_errors": ObjectErrors,
}

FIELDS: dict[str, str] = {
    "format": f"{FORMAT!r}",
    "n_truth": "true objects",
    "n_predicted": "predicted objects",
    "object_errors.deepcell_compat.correct_detections": "correct detections and catastrophes",
    **{
        f"{section}.{each.name}": each.metadata["meaning"]
        for section, kind in _SECTIONS.items()
        for each in fields(kind)
    },
    **SCORES,
}
"""Every entry of `evaluate`'s result by its path (`matching[]` is a list) and what it means."""


def evaluate(
    truth: Windowed,
    predicted: Windowed,
    *,
    boundary_tolerance_px: float = 2.0,
    memory_mib: float = MEMORY_MIB,
) -> dict[str, Any]:
    """Score a label image against the true one, reading both once, in bands of rows.

    Of volumes every score is that of their objects, voxels for pixels; the boundary alone is that
    of the planes, as boundaries lie in each, added up. `deepcell_compat`, which goes by bounding
    boxes, goes by those seen along Z.

    Args:
        truth: true labels `(Y, X)` or `(Z, Y, X)`, any integer dtype, 0 is background.
        predicted: predicted labels of the same shape.
        boundary_tolerance_px: how far apart two boundaries may lie, in pixels.
        memory_mib: what this may take beside the tables of objects.

    Returns:
        A dictionary ready for JSON, laid out as `FIELDS` says.

    Raises:
        BadInput: the shapes differ, or an array is no label image.

    Example:
        >>> scores = evaluate(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 1, 0]]))
        >>> [(each["iou_threshold"], each["f1"]) for each in scores["matching"]][2:5]
        [(0.6, 0.6666666666666666), (0.65, 0.6666666666666666), (0.7, 0.0)]
    """
    check_pair(truth, predicted, volumes=True)
    matcher = BoundaryMatcher(boundary_tolerance_px)

    tables = RunningSum(add_pairs, table_rows)
    counts = np.zeros(4, np.int64)

    def work(
        true: npt.NDArray, pred: npt.NDArray, top: int, rows: slice
    ) -> tuple[LabelPairs, npt.NDArray[np.int64]]:
        return pair_rows(true, pred, (top, 0), rows), matcher.counts(true, pred, rows)

    for band, true, pred in read_pair(truth, predicted, memory_mib=memory_mib, halo=matcher.halo):
        rows = parts(band.inner, truth.shape[-1], least=4 * matcher.halo)
        for table, found in in_threads(partial(work, true, pred, band.window.start), rows):
            tables.add(table)
            counts += found
    pairs = tables.total()
    return _result(
        match_all(pairs),
        count_panoptic(pairs),
        aggregated_jaccard(pairs),
        matcher.result(counts),
        pixel_overlap(pairs),
        classify_errors(pairs),
    )


def pool(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the results of several images together in the two ways that papers do.

    Args:
        results: what `evaluate` gave for each image.

    Returns:
        `images`, their number; `pooled`, laid out as `evaluate`'s result, from the counts of all
        images added up (every object weighs the same); `per_image_mean`, its scores alone, each
        the mean over the images (every image weighs the same; images where it is null are left
        out, and it is null where none is left).

    Raises:
        BadInput: there are no results, they lack entries or were made with different settings.

    Example:
        >>> import numpy as np
        >>> cell, none = np.array([[1, 1]]), np.array([[0, 0]])
        >>> both = pool([evaluate(cell, cell), evaluate(cell, none)])
        >>> both["pooled"]["panoptic_quality"], both["per_image_mean"]["panoptic_quality"]
        (0.6666666666666666, 0.5)
    """
    if not results:
        raise BadInput("the results to pool", expected="at least one", found="none")
    for result in results:
        _check_layout(result)
    sections: dict[str, list[Any]] = {
        name: [counts_from(kind, result[name]) for result in results]
        for name, kind in _SECTIONS.items()
        if name != "matching[]"
    }
    matchings = [[counts_from(Matching, each) for each in result["matching"]] for result in results]
    for matching in matchings:
        if len(matching) != len(matchings[0]):
            raise BadInput(
                "the results to pool, matching",
                expected=f"{len(matchings[0])} thresholds in all of them",
                found=f"{len(matching)}",
            )
    return {
        "images": len(results),
        "pooled": _result(
            tuple(add_counts(same) for same in zip(*matchings, strict=True)),
            add_counts(sections["panoptic"]),
            add_counts(sections["aggregated_jaccard"]),
            add_counts(sections["boundary"]),
            add_counts(sections["pixels"]),
            add_counts(sections["object_errors"]),
        ),
        "per_image_mean": _mean("", results),
    }


def paths(result: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Walk the paths of a result in the notation of `FIELDS`; list items share theirs.

    Example:
        >>> sorted(set(paths({"a": 1, "b": [{"c": 2}, {"c": 3}]})))
        ['a', 'b[].c']
    """
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from paths(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for item in value:
                yield from paths(item, f"{prefix}{name}[].")
        else:
            yield prefix + name


def _check_layout(result: Mapping[str, Any]) -> None:
    """Refuse what lacks an entry of `FIELDS`, by BadInput."""
    try:
        rest = set(paths({**result, "matching": []}))
        found = [rest | set(paths({"matching": [item]})) for item in result["matching"]]
    except (AttributeError, KeyError, TypeError):
        found = []
    missing = next((path for each in found or [set()] for path in FIELDS if path not in each), "")
    if missing:
        raise BadInput("a result of evaluate()", expected=f"an entry '{missing}'", found="none")


def _result(
    matching: tuple[Matching, ...],
    quality: Panoptic,
    jaccard: AggregatedJaccard,
    outline: Boundary,
    foreground: Pixels,
    errors: ObjectErrors,
) -> dict[str, Any]:
    precisions = [each.average_precision for each in matching]
    return {
        "format": FORMAT,
        "n_truth": errors.n_true,
        "n_predicted": errors.n_pred,
        "mean_average_precision": sum(precisions) / len(precisions),
        "panoptic_quality": quality.panoptic_quality,
        "aji": jaccard.aji,
        "matching": [each.to_dict() for each in matching],
        "panoptic": quality.to_dict(),
        "aggregated_jaccard": jaccard.to_dict(),
        "boundary": outline.to_dict(),
        "pixels": foreground.to_dict(),
        "object_errors": errors.to_dict(),
    }


def _mean(path: str, values: Sequence[Any]) -> Any:
    """Average what `SCORES` names, keeping the layout; thresholds stay to tell list items apart."""
    first = values[0]
    if isinstance(first, Mapping):
        prefix = f"{path}." if path else ""
        means = {}
        for name in first:
            below = prefix + name
            if isinstance(first[name], Mapping | list) or below in SCORES:
                means[name] = _mean(below, [value[name] for value in values])
            elif below == "matching[].iou_threshold":
                means[name] = first[name]
        return means
    if isinstance(first, list):
        return [_mean(f"{path}[]", items) for items in zip(*values, strict=True)]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
