"""From a batch of images to its labels, for pipelines whose images fit one machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.postprocess.component import postprocess
from components.preprocess.component import preprocess
from pipelines.hardware import Machine


@dataclass(frozen=True)
class Segmented:
    """What the tasks of one batch give, as KFP hands it on.

    Attributes:
        labels: label images.
        records: the tasks' records by the role that `report` knows.
    """

    labels: Any
    records: Mapping[str, Any]


def segment(
    cpu: Machine,
    gpu: Machine,
    predict: Any,
    *,
    images: Any,
    model: Any,
    diameter: Any,
    compartment: Any,
    method: Any,
    parameters: Any,
    network: Mapping[str, Any],
    on_bad_image: Any,
    stitch_threshold: Any = None,
    memory_mib: Any = None,
) -> Segmented:
    """Add the tasks that segment a batch. Call it in the loop over batches.

    Args:
        cpu: what preprocessing and post-processing run on.
        gpu: what the network runs on.
        predict: the component `predict`, as it is called on that machine (`Machine.use`).
        images: the batch of images.
        model: the model.
        diameter: the objects' diameter, or the pipeline's parameter for it, as the others here.
        compartment: the kinds of object to segment.
        method: how objects are found, in place of the model's own way.
        parameters: of the method, in place of the model's own.
        network: `predict`'s parameters of the network: engine, batch size and so on.
        on_bad_image: `fail` or `skip`.
        stitch_threshold: from which overlap objects of a volume's planes are one; by default the
            stage's own.
        memory_mib: memory that tasks work in, or the parameter for it; each stage's own by default.
    """
    memory = {} if memory_mib is None else {"memory_mib": memory_mib}
    stitching = {} if stitch_threshold is None else {"stitch_threshold": stitch_threshold}
    prepared = cpu.place(
        preprocess(
            images=images,
            model=model,
            diameter=diameter,
            compartment=compartment,
            on_bad_image=on_bad_image,
            **memory,
        )
    )
    predicted = gpu.place(
        predict(
            preprocessed=prepared.outputs["preprocessed"],
            model=model,
            compartment=compartment,
            method=method,
            parameters=parameters,
            on_bad_image=on_bad_image,
            **network,
            **memory,
        )
    )
    segmented = cpu.place(
        postprocess(
            predictions=predicted.outputs["predictions"],
            compartment=compartment,
            method=method,
            parameters=parameters,
            on_bad_image=on_bad_image,
            **stitching,
            **memory,
        )
    )
    tasks = {"preprocess": prepared, "predict": predicted, "postprocess": segmented}
    records = {role: task.outputs["record"] for role, task in tasks.items()}
    return Segmented(segmented.outputs["labels"], records)
