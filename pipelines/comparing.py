"""From images with truth to one table and one page of several segmenters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.compare_segmenters.component import compare_segmenters
from components.deepcell_reference.component import deepcell_reference
from components.fetch_model.component import fetch_model
from components.metrics.component import metrics
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import Machine
from pipelines.outputs import OutputFile
from pipelines.parameters import CONVERSION, chosen
from pipelines.segmenting import segment

OUTPUTS = (
    OutputFile("comparison", "", "comparison.html"),
    OutputFile("table", "", "comparison.csv"),
    OutputFile("numbers", "", "comparison.json"),
)


class Outputs(NamedTuple):
    """What a comparison gives."""

    comparison: dsl.HTML
    table: dsl.Dataset
    numbers: dsl.Metrics


def compare(cpu: Machine, gpu: Machine, predict: Any, given: Mapping[str, Any]) -> Outputs:
    """Add the tasks that compare segmenters; with `reference_model` DeepCell's package, too.

    Args:
        cpu: what all but networks run on.
        gpu: what networks run on.
        predict: the component `predict`, as it is called on that machine (`Machine.use`).
        given: the pipeline's parameters by name, all of them.
    """
    segmenters, trust = given["segmenters"], given["trust_model"]
    converted = cpu.place(tiff_to_npz(items=given["items"], **chosen(given, CONVERSION)))
    images, truth = converted.outputs["images"], converted.outputs["truth"]
    scoring = {"truth": truth, **chosen(given, ("truth_compartment", "on_bad_image"))}
    reference = _reference(cpu, images, scoring, given) if "reference_model" in given else {}
    with dsl.ParallelFor(segmenters, name="segmenters") as each:
        fetched = cpu.place(fetch_model(source=each.model, digest=each.digest, trust_model=trust))
        segmented = segment(
            cpu,
            gpu,
            predict,
            images=images,
            model=fetched.outputs["model"],
            method="",
            parameters={},
            network=chosen(given, ("batch_size", "precision", "engine", "trust_model")),
            **chosen(given, ("diameter", "compartment", "on_bad_image")),
        )
        scored = cpu.place(metrics(labels=segmented.labels, **scoring))
    compared = cpu.place(
        compare_segmenters(
            images=images,
            truth=truth,
            labels=dsl.Collected(segmented.labels),
            scores=dsl.Collected(scored.outputs["scores"]),
            segmenters=segmenters,
            **{f"{role}_records": dsl.Collected(each) for role, each in segmented.records.items()},
            **reference,
        )
    )
    return Outputs(**{name: compared.outputs[name] for name in Outputs._fields})


def _reference(
    cpu: Machine, images: Any, scoring: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Segment with DeepCell's package, and score that; what `compare_segmenters` is given of it."""
    fetched = cpu.place(
        fetch_model(
            source=given["reference_model"],
            digest=given["reference_model_digest"],
            trust_model=given["trust_model"],
        )
    )
    found = cpu.place(
        deepcell_reference(
            images=images,
            model=fetched.outputs["model"],
            **chosen(given, ("compartment", "on_bad_image")),
        )
    )
    scored = cpu.place(metrics(labels=found.outputs["labels"], **scoring))
    return {
        "reference_labels": found.outputs["labels"],
        "reference_scores": scored.outputs["scores"],
        "reference_record": found.outputs["record"],
    }
