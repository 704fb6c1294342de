"""What comes after labels in every pipeline: export, measure, score, report; then a summary.

A pipeline calls `after_labels` in its loop over batches and `over_all_batches` behind the loop, and
returns what that gives; its `OUTPUTS` are the rows here, with those of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl

from components.export_labels.component import export_labels
from components.export_results.component import export_results
from components.measure.component import measure
from components.metrics.component import metrics
from components.report.component import report
from components.summarize.component import summarize
from pipelines.hardware import Machine
from pipelines.outputs import OutputFile

OUTPUTS = (
    OutputFile("label_images", "tif", "labels.tif"),
    OutputFile("reports", "png", "overlay.png"),
    OutputFile("measurements", "csv", "measurements.csv"),
    OutputFile("measurements", "parquet", "measurements.parquet"),
    OutputFile("scores", "json", "metrics.json"),
    OutputFile("reports", "html", "report.html"),
    OutputFile("exports", "geojson", "objects.geojson"),
    OutputFile("exports", "h5ad", "objects.h5ad"),
    OutputFile("exports", "spatialdata.zarr", "spatialdata.zarr"),
    OutputFile("exports", "cellpose", "cellpose"),
    OutputFile("exports", "rois.zip", "rois.zip"),
    OutputFile("exports", "tracking", "tracking"),
    OutputFile("summary", "", "summary.html"),
    OutputFile("table", "", "summary.csv"),
    OutputFile("numbers", "", "summary.json"),
)


class Outputs(NamedTuple):
    """What a pipeline that ends in this tail gives: lists hold one artifact per batch."""

    label_images: list[dsl.Dataset]
    measurements: list[dsl.Dataset]
    scores: list[dsl.Dataset]
    reports: list[dsl.Dataset]
    exports: list[dsl.Dataset]
    summary: dsl.HTML
    table: dsl.Dataset
    numbers: dsl.Metrics


@dataclass(frozen=True)
class BatchOutputs:
    """What the tasks of one batch give, as KFP hands it on."""

    label_images: Any
    measurements: Any
    scores: Any
    reports: Any
    exports: Any


def after_labels(
    machine: Machine,
    *,
    images: Any,
    labels: Any,
    truth: Any,
    records: Mapping[str, Any],
    label_dtype: Any,
    truth_compartment: Any,
    on_bad_image: Any,
    export: Any = "",
    ome_zarr: bool = False,
    memory_mib: Any = None,
) -> BatchOutputs:
    """Add the tasks that follow a batch's labels. Call it in the loop over batches.

    Args:
        machine: what the tasks run on.
        images: the batch of original images, which is measured and shown.
        labels: its label images.
        truth: its ground truth; an image that has none is an entry without arrays.
        records: records of the stages before, by the role that `report` knows: `conversion`,
            `preprocess`, `predict`, `postprocess`, `stitch`. A stage that is not there is left out.
        label_dtype: type of the exported labels, or the pipeline's parameter for it.
        truth_compartment: what ground truth of one plane shows, or the parameter for it.
        on_bad_image: `fail` or `skip`, or the parameter for it.
        export: forms for other programs, as `export_results` takes them, or the parameter for it.
        ome_zarr: export labels as OME-Zarr too.
        memory_mib: memory that tasks work in, or the parameter for it; each stage's own by default.
    """
    memory = {} if memory_mib is None else {"memory_mib": memory_mib}
    zarr = {"ome_zarr": True} if ome_zarr else {}
    written = machine.place(export_labels(labels=labels, dtype=label_dtype, **zarr, **memory))
    measured = machine.place(
        measure(images=images, labels=labels, on_bad_image=on_bad_image, **memory)
    )
    exported = machine.place(
        export_results(
            images=images,
            labels=labels,
            measurements=measured.outputs["measurements"],
            formats=export,
            on_bad_image=on_bad_image,
            **memory,
        )
    )
    scored = machine.place(
        metrics(
            labels=labels,
            truth=truth,
            truth_compartment=truth_compartment,
            on_bad_image=on_bad_image,
            **memory,
        )
    )
    reported = machine.place(
        report(
            images=images,
            labels=labels,
            measurements=measured.outputs["measurements"],
            scores=scored.outputs["scores"],
            truth=truth,
            **{f"{role}_record": record for role, record in records.items()},
            measure_record=measured.outputs["record"],
            metrics_record=scored.outputs["record"],
            on_bad_image=on_bad_image,
        )
    )
    return BatchOutputs(
        label_images=written.outputs["label_images"],
        measurements=measured.outputs["measurements"],
        scores=scored.outputs["scores"],
        reports=reported.outputs["reports"],
        exports=exported.outputs["exports"],
    )


def over_all_batches(machine: Machine, batch: BatchOutputs) -> Outputs:
    """Add the summary over all batches, and return the pipeline's outputs.

    Args:
        machine: what the task runs on.
        batch: what `after_labels` gave in the loop, which has ended.
    """
    # A collected list is for one use: kfp's compiler changes it as it goes.
    summary = machine.place(summarize(reports=dsl.Collected(batch.reports)))
    return Outputs(
        label_images=dsl.Collected(batch.label_images),
        measurements=dsl.Collected(batch.measurements),
        scores=dsl.Collected(batch.scores),
        reports=dsl.Collected(batch.reports),
        exports=dsl.Collected(batch.exports),
        summary=summary.outputs["summary"],
        table=summary.outputs["table"],
        numbers=summary.outputs["numbers"],
    )
