"""From one image and what to measure under to a table, fits, figures and guidelines."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.benchmark_images.component import benchmark_images
from components.deepcell_reference.component import deepcell_reference
from components.fetch_model.component import fetch_model
from components.metrics.component import metrics
from components.report_benchmark.component import report_benchmark
from components.tabulate_benchmark.component import tabulate_benchmark
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import Machine
from pipelines.outputs import OutputFile
from pipelines.parameters import CONVERSION, chosen
from pipelines.segmenting import segment

OUTPUTS = (
    OutputFile("benchmark", "", "benchmark.html"),
    OutputFile("table", "", "benchmark.csv"),
    OutputFile("parquet", "", "benchmark.parquet"),
    OutputFile("schema", "", "benchmark.schema.json"),
    OutputFile("plots", "", "plots"),
    OutputFile("numbers", "", "benchmark.json"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    benchmark: dsl.HTML
    table: dsl.Dataset
    parquet: dsl.Artifact
    schema: dsl.Artifact
    plots: dsl.Artifact
    numbers: dsl.Metrics


#: Adds the tasks that segment a condition's squares: labels, and the records by role.
Segment = Callable[[Any, Any, Any], tuple[Any, Mapping[str, Any]]]


def measure(cpu: Machine, gpu: Machine, predict: Any, given: Mapping[str, Any]) -> Outputs:
    """Add a benchmark's tasks; with `reference_conditions` DeepCell's package is measured, too.

    Args:
        cpu: what all but networks run on.
        gpu: what networks run on.
        predict: the component `predict`, as it is called on that machine (`Machine.use`).
        given: the pipeline's parameters by name, all of them.
    """
    converted = cpu.place(tiff_to_npz(items=given["items"], **chosen(given, CONVERSION)))

    def by_stages(subject: Any, model: Any, condition: Any) -> tuple[Any, Mapping[str, Any]]:
        segmented = segment(
            cpu,
            gpu,
            predict,
            images=subject.outputs["subjects"],
            model=model,
            method="",
            parameters={},
            network={
                "batch_size": subject.outputs["batch_size"],
                "tile": subject.outputs["tile"],
                "precision": condition.precision,
                "engine": condition.engine,
                "device": condition.device,
                "trust_model": given["trust_model"],
            },
            on_bad_image="fail",
            **chosen(given, ("diameter", "compartment")),
        )
        return segmented.labels, segmented.records

    def by_package(subject: Any, model: Any, condition: Any) -> tuple[Any, Mapping[str, Any]]:
        found = cpu.place(
            deepcell_reference(
                images=subject.outputs["subjects"], model=model, compartment=given["compartment"]
            )
        )
        return found.outputs["labels"], {"reference": found.outputs["record"]}

    # One at a time: what runs beside a measurement is measured, too.
    with dsl.ParallelFor(given["conditions"], name="conditions", parallelism=1) as condition:
        table = _measured(cpu, converted, condition, by_stages, given)
    reported = cpu.place(report_benchmark(tables=dsl.Collected(table), prices=given["prices"]))
    if "reference_conditions" in given:
        asked = given["reference_conditions"]
        with dsl.ParallelFor(asked, name="reference", parallelism=1) as condition:
            table = _measured(cpu, converted, condition, by_package, given)
        reported = cpu.place(
            report_benchmark(
                tables=dsl.Collected(table),
                others=reported.outputs["table"],
                prices=given["prices"],
            )
        )
    return Outputs(**{name: reported.outputs[name] for name in Outputs._fields})


def _measured(
    cpu: Machine, converted: Any, condition: Any, segment: Segment, given: Mapping[str, Any]
) -> Any:
    """Add the tasks that measure one condition, and return its table."""
    subject = cpu.place(
        benchmark_images(
            images=converted.outputs["images"],
            truth=converted.outputs["truth"],
            condition=condition,
        )
    )
    fetched = cpu.place(
        fetch_model(
            source=condition.model, digest=condition.digest, trust_model=given["trust_model"]
        )
    )
    labels, records = segment(subject, fetched.outputs["model"], condition)
    scored = cpu.place(
        metrics(
            labels=labels,
            truth=subject.outputs["subjects_truth"],
            truth_compartment=given["truth_compartment"],
        )
    )
    tabulated = cpu.place(
        tabulate_benchmark(
            subjects=subject.outputs["subjects"],
            labels=labels,
            scores=scored.outputs["scores"],
            condition=condition,
            diameter=given["diameter"],
            **{f"{role}_record": record for role, record in records.items()},
        )
    )
    return tabulated.outputs["table"]
