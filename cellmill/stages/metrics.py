"""The stage that scores labels against the truth, where there is one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.files import write_text
from cellmill.arrays.rows import check_memory
from cellmill.arrays.windows import Windowed
from cellmill.contract import (
    GroundTruth,
    Input,
    Labels,
    Metrics,
    Output,
    Record,
    Scores,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, kinds_in, typed_kinds
from cellmill.metrics import evaluate, pool
from cellmill.metrics.boundary import check_tolerance
from cellmill.stages.shared.truth import truth_of
from cellmill.terminal import say


@stage(image="imaging", family="measurement")
def metrics(
    labels: Input[Labels],
    truth: Input[GroundTruth | Labels],
    metrics: Output[Metrics],
    scores: Output[Scores],
    record: Output[Record],
    truth_compartment: str = "",
    boundary_tolerance_px: float = 2.0,
    memory_mib: int = 1024,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> None:
    """Score labels against the truth; images without truth are said to have none.

    Precision, recall, F1 and average precision for IoU 0.50 to 0.95, panoptic quality, aggregated
    Jaccard index, boundary F and DeepCell's object errors, per image and pooled.

    Args:
        labels: Batch with an array a kind of object, as `whole_cell` or `nuclear`, (Y, X) or
            (Z, Y, X), 0 is background.
        truth: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei), with Z before of
            a volume, or arrays named as in labels (another segmentation); an entry without arrays
            is an image without truth.
        metrics: Scores of all images, pooled and as means per image, as JSON; the headlines are
            its metadata.
        scores: Batch with a file `<name>.json` per image: its name, whether there is truth, and by
            compartment what `cellmill.metrics.evaluate` says.
        record: What was done, with times and versions.
        truth_compartment: What a truth of one plane shows, a kind of object. Empty: whatever is
            segmented; of several kinds each is scored against it.
        boundary_tolerance_px: How far apart boundaries may lie for the boundary F, in pixels; of a
            volume within a plane.
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
        say("no truth: nothing to score", to=sys.stderr)
        whole["note"] = metrics.metadata["note"] = "no truth"
    write_text(metrics.path, _json(whole))
    metrics.metadata.update(seen)
    metrics.metadata.update(_headlines(pooled))


def _truth_of(
    truths: Batch, labels: Batch, entry: Entry, truth_compartment: str
) -> dict[Compartment, Windowed]:
    """Find the true labels `(Y, X)` of what is segmented in an image; empty where none are."""
    segmented = kinds_in(entry.arrays, f"labels of image '{entry.name}'")
    found = truths.counterpart(entry, labels)
    if found is None:
        return {}
    one = "labels" in found.arrays and "C" not in found.arrays["labels"].axes
    if one and truth_compartment:
        try:
            segmented = typed_kinds(truth_compartment, segmented, "--truth-compartment")
        except BadInput as bad:
            expected = f"what is segmented in image '{entry.name}', {bad.expected}"
            raise BadInput(bad.what, expected=expected, found=bad.found) from None
    return truth_of(truths, found, segmented)


def _score(entry: Entry, truth: Windowed, predicted: Windowed, **settings: Any) -> dict[str, Any]:
    try:
        return evaluate(truth, predicted, **settings)
    except BadInput as bad:
        raise bad.about(f"image '{entry.name}', {bad.what}") from None


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
