"""The stage that scores labels against the truth, where there is one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

from cellmill.arrays.batch import Batch, BatchWriter, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed
from cellmill.compartments import Compartment, compartments_of, planes_of
from cellmill.contract import Dataset, Input, Metrics, Output, Record, for_each_image
from cellmill.errors import BadInput
from cellmill.metrics import evaluate, pool
from cellmill.metrics.boundary import check_tolerance


def metrics(
    labels: Input[Dataset],
    truth: Input[Dataset],
    metrics: Output[Metrics],
    scores: Output[Dataset],
    record: Output[Record],
    truth_compartment: Literal["", "whole-cell", "nuclear"] = "",
    boundary_tolerance_px: float = 2.0,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Score labels against the truth; images without truth are said to have none.

    Precision, recall, F1 and average precision for IoU 0.50 to 0.95, panoptic quality, aggregated
    Jaccard index, boundary F and DeepCell's object errors, per image and pooled.

    Args:
        labels: Batch with array `whole_cell` or `nuclear`, or both, (Y, X), 0 is background.
        truth: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei), or arrays named
            as in labels (another segmentation); an entry without arrays is an image without truth.
        metrics: Scores of all images, pooled and as means per image, as JSON; the headlines are
            its metadata.
        scores: Batch with a file `<name>.json` per image: its name, whether there is truth, and by
            compartment what `cellmill.metrics.evaluate` says.
        record: What was done, with times and versions.
        truth_compartment: What a truth of one plane shows. Empty: whatever is segmented; if that
            is both, both are scored against it.
        boundary_tolerance_px: How far apart boundaries may lie for the boundary F, in pixels.
        memory_mib: Memory to work in, in MiB, beside the tables of cells. Results do not depend
            on it.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
    """
    check_tolerance(boundary_tolerance_px)
    check_memory(memory_mib)
    source = Batch.open(labels.path)
    truths = Batch.open(truth.path)
    results: dict[str, list[dict[str, Any]]] = {}
    seen = {"images": 0, "images_with_truth": 0}
    with BatchWriter(scores.path) as out:

        def work(entry: Entry) -> None:
            with record.step("score"):
                true_labels = _truth_of(truths, source, entry, truth_compartment)
                found: dict[str, Any] = {
                    compartment: _score(
                        entry,
                        plane,
                        source.array(entry, compartment),
                        boundary_tolerance_px=boundary_tolerance_px,
                        memory_mib=memory_mib,
                    )
                    for compartment, plane in true_labels.items()
                }
            document: dict[str, Any] = {"image": entry.name, "truth": bool(found), **found}
            if not found:
                document["note"] = "no truth"
            with out.open(entry.name, "json") as file:
                file.write(_json(document).encode())
            out.annotate(entry.name, truth=bool(found))
            seen["images"] += 1
            seen["images_with_truth"] += bool(found)
            for compartment, result in found.items():
                results.setdefault(compartment, []).append(result)

        for_each_image(source, work, writers=[out], record=record, on_bad_image=on_bad_image)
    pooled = {compartment: pool(given) for compartment, given in results.items()}
    whole: dict[str, Any] = {**seen, **pooled}
    if not pooled:
        print("no truth: nothing to score", file=sys.stderr)
        whole["note"] = metrics.metadata["note"] = "no truth"
    write_text(metrics.path, _json(whole))
    metrics.metadata.update(seen)
    metrics.metadata.update(_headlines(pooled))


def _truth_of(
    truths: Batch, labels: Batch, entry: Entry, truth_compartment: str
) -> dict[Compartment, Windowed]:
    """Find the true labels `(Y, X)` for the compartments of an image; none where there are none."""
    segmented = compartments_of(entry.arrays, f"labels of image '{entry.name}'")
    found = truths.counterpart(entry, labels)
    if found is None or not found.arrays:
        return {}
    named: dict[Compartment, Windowed] = {
        each: truths.array(found, each) for each in segmented if each in found.arrays
    }
    if named:
        return named
    planes = truths.array(found, "labels")
    if len(planes.shape) == 2 and truth_compartment:
        shown = tuple(each for each in segmented if each == truth_compartment.replace("-", "_"))
        if not shown:
            raise BadInput(
                "--truth-compartment",
                expected=f"what is segmented in image '{entry.name}', {' or '.join(segmented)}",
                found=truth_compartment,
            )
        segmented = shown
    return planes_of(planes, segmented, f"truth of image '{entry.name}'")


def _score(entry: Entry, truth: Windowed, predicted: Windowed, **settings: Any) -> dict[str, Any]:
    try:
        return evaluate(truth, predicted, **settings)
    except BadInput as bad:
        raise BadInput(
            f"image '{entry.name}', {bad.what}", expected=bad.expected, found=bad.found
        ) from None


def _headlines(pooled: Mapping[str, Mapping[str, Any]]) -> dict[str, int | float]:
    """Pick what a pipeline's page shows of the pooled scores; a few flat numbers."""
    found: dict[str, int | float] = {}
    for compartment, both in pooled.items():
        scores = both["pooled"]
        at_half = scores["matching"][0]
        named = {
            "true": scores["n_truth"],
            "predicted": scores["n_predicted"],
            "f1_50": round(at_half["f1"], 4),
            "ap_50": round(at_half["average_precision"], 4),
            "mean_ap": round(scores["mean_average_precision"], 4),
            "panoptic": round(scores["panoptic_quality"], 4),
            "aji": round(scores["aji"], 4),
        }
        prefix = f"{compartment}_" if len(pooled) > 1 else ""
        found |= {prefix + name: value for name, value in named.items()}
    return found


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
