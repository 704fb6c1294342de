"""`benchmark`: sizes × segmenters × machines → one table, fits, figures, guidelines."""

from typing import Any, NamedTuple

from kfp import dsl

from components.benchmark_images.component import benchmark_images
from components.fetch_model.component import fetch_model
from components.metrics.component import metrics
from components.predict.component import predict
from components.report_benchmark.component import report_benchmark
from components.tabulate_benchmark.component import tabulate_benchmark
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import PORTABLE, Hardware, Machine
from pipelines.outputs import OutputFile
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


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="benchmark")
    def benchmark(
        items: list[dict[str, str]],
        conditions: list[dict],
        channels: str = "",
        mpp: float = 0.0,
        diameter: str = "",
        z: str = "",
        t: str = "",
        series: int = -1,
        compartment: str = "",
        truth_kind: str = "",
        truth_compartment: str = "",
        trust_model: bool = False,
        prices: dict = {},
    ) -> Outputs:
        """Measure segmentation over sizes, segmenters and settings, one process a condition.

        Args:
            items: One image with `image`, `truth`, `name` and digests.
            conditions: What is measured under, each a JSON object as `Condition`.
            channels: Channels to segment, by name or 0-based index, in the models' order.
            mpp: Pixel size in microns, where the file does not say; 0 for unknown.
            diameter: The objects' diameter in pixels, or `auto`; empty goes by the pixel size.
            z: Plane of a stack, 0-based; empty where there is only one.
            t: Time point of a series, 0-based; empty where there is only one.
            series: Image of a file that holds several, 0-based; -1 for the only or largest one.
            compartment: `nuclear`, `whole-cell` or `both`; empty for each model's own.
            truth_kind: What truth files are, as for `tiff_to_npz`; empty: each says so itself.
            truth_compartment: What truth of one plane shows; empty for whatever is segmented.
            trust_model: Load networks even if they could do more than compute.
            prices: US dollars an hour by a machine's name, a JSON object.

        Returns:
            benchmark: The page: each guideline beside its figure.
            table: What was timed, as CSV, a row a step.
            parquet: The same as Parquet.
            schema: The table's schema for BigQuery.
            plots: Every figure as PNG and SVG.
            numbers: Means, fits and sentences as JSON.
        """
        converted = cpu.place(
            tiff_to_npz(
                items=items,
                channels=channels,
                mpp=mpp,
                z=z,
                t=t,
                series=series,
                truth_kind=truth_kind,
            )
        )
        # One at a time: what runs beside a measurement is measured, too.
        with dsl.ParallelFor(conditions, name="conditions", parallelism=1) as condition:
            table = _measured(
                cpu,
                gpu,
                predict_on_gpu,
                converted,
                condition,
                diameter=diameter,
                compartment=compartment,
                truth_compartment=truth_compartment,
                trust_model=trust_model,
            )
        reported = cpu.place(report_benchmark(tables=dsl.Collected(table), prices=prices))
        return Outputs(**{name: reported.outputs[name] for name in Outputs._fields})

    return benchmark


def _measured(
    cpu: Machine,
    gpu: Machine,
    predict_on_gpu: Any,
    converted: Any,
    condition: Any,
    *,
    diameter: Any,
    compartment: Any,
    truth_compartment: Any,
    trust_model: Any,
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
        fetch_model(source=condition.model, digest=condition.digest, trust_model=trust_model)
    )
    segmented = segment(
        cpu,
        gpu,
        predict_on_gpu,
        images=subject.outputs["subjects"],
        model=fetched.outputs["model"],
        diameter=diameter,
        compartment=compartment,
        method="",
        parameters={},
        network={
            "batch_size": subject.outputs["batch_size"],
            "tile": subject.outputs["tile"],
            "precision": condition.precision,
            "engine": condition.engine,
            "device": condition.device,
            "trust_model": trust_model,
        },
        on_bad_image="fail",
    )
    scored = cpu.place(
        metrics(
            labels=segmented.labels,
            truth=subject.outputs["subjects_truth"],
            truth_compartment=truth_compartment,
        )
    )
    tabulated = cpu.place(
        tabulate_benchmark(
            subjects=subject.outputs["subjects"],
            labels=segmented.labels,
            scores=scored.outputs["scores"],
            condition=condition,
            diameter=diameter,
            **{f"{role}_record": record for role, record in segmented.records.items()},
        )
    )
    return tabulated.outputs["table"]
