"""From images with truth to one table and one page of several segmenters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.compare_segmenters.component import compare_segmenters
from components.deepcell_reference.component import deepcell_reference
from components.fetch_model.component import fetch_model
from components.metrics.component import metrics
from pipelines.hardware import Machine
from pipelines.outputs import OutputFile
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


def compare(
    cpu: Machine,
    gpu: Machine,
    predict: Any,
    *,
    images: Any,
    truth: Any,
    segmenters: Any,
    diameter: Any,
    compartment: Any,
    truth_compartment: Any,
    network: Mapping[str, Any],
    on_bad_image: Any,
    reference: Mapping[str, Any] | None = None,
) -> Outputs:
    """Add the tasks that compare segmenters.

    Args:
        cpu: what all but networks run on.
        gpu: what networks run on.
        predict: the component `predict`, as it is called on that machine (`Machine.use`).
        images: the batch of images.
        truth: the batch of their truth.
        segmenters: the pipeline's parameter for them, as the others here.
        diameter: the objects' diameter.
        compartment: the kinds of object to segment.
        truth_compartment: what truth of one plane shows.
        network: `predict`'s parameters of the network.
        on_bad_image: `fail` or `skip`.
        reference: what `add_reference` gives.
    """
    with dsl.ParallelFor(segmenters, name="segmenters") as each:
        fetched = cpu.place(
            fetch_model(source=each.model, digest=each.digest, trust_model=network["trust_model"])
        )
        segmented = segment(
            cpu,
            gpu,
            predict,
            images=images,
            model=fetched.outputs["model"],
            diameter=diameter,
            compartment=compartment,
            method="",
            parameters={},
            network=network,
            on_bad_image=on_bad_image,
        )
        scored = cpu.place(
            metrics(
                labels=segmented.labels,
                truth=truth,
                truth_compartment=truth_compartment,
                on_bad_image=on_bad_image,
            )
        )
    compared = cpu.place(
        compare_segmenters(
            images=images,
            truth=truth,
            labels=dsl.Collected(segmented.labels),
            scores=dsl.Collected(scored.outputs["scores"]),
            segmenters=segmenters,
            **{f"{role}_records": dsl.Collected(each) for role, each in segmented.records.items()},
            **(reference or {}),
        )
    )
    return Outputs(**{name: compared.outputs[name] for name in Outputs._fields})


def add_reference(
    cpu: Machine,
    *,
    images: Any,
    truth: Any,
    model: Any,
    digest: Any,
    trust_model: Any,
    compartment: Any,
    truth_compartment: Any,
    on_bad_image: Any,
) -> dict[str, Any]:
    """Add the tasks that segment the images with DeepCell's package, and score that.

    Args:
        cpu: what they run on.
        images: the batch of images.
        truth: the batch of their truth.
        model: Mesmer's network: a name, path or URI.
        digest: of the network.
        trust_model: whether it may have operations that could do more than compute.
        compartment: the kinds of object to segment.
        truth_compartment: what truth of one plane shows.
        on_bad_image: `fail` or `skip`.

    Returns:
        What `compare_segmenters` is given of it.
    """
    fetched = cpu.place(fetch_model(source=model, digest=digest, trust_model=trust_model))
    found = cpu.place(
        deepcell_reference(
            images=images,
            model=fetched.outputs["model"],
            compartment=compartment,
            on_bad_image=on_bad_image,
        )
    )
    scored = cpu.place(
        metrics(
            labels=found.outputs["labels"],
            truth=truth,
            truth_compartment=truth_compartment,
            on_bad_image=on_bad_image,
        )
    )
    return {
        "reference_labels": found.outputs["labels"],
        "reference_scores": scored.outputs["scores"],
        "reference_record": found.outputs["record"],
    }
