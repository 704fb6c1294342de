"""`reference_benchmark`: as `benchmark`, with DeepCell's own package among the segmenters."""

from typing import Any

from kfp import dsl

from components.predict.component import predict
from pipelines.benchmarking import OUTPUTS, Outputs, measure
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware

__all__ = ["OUTPUTS", "build"]


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="reference-benchmark")
    @described
    def reference_benchmark(
        items: list[dict[str, str]],
        conditions: list[dict],
        reference_conditions: list[dict],
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
        """Measure segmentation as `benchmark` does, and DeepCell's Mesmer run by its own package.

        Args:
            items: One image with `image`, `truth`, `name` and digests.
            reference_conditions: The same for DeepCell's own package, Mesmer's network as `model`.
            t: Time point of a series, 0-based; empty where there is only one.
            truth_kind: What truth files are, as for `tiff_to_npz`; empty: each says so itself.
            trust_model: Load networks even if they could do more than compute.

        Returns:
            benchmark: The page: each guideline beside its figure.
            table: What was timed, as CSV, a row a step.
            parquet: The same as Parquet.
            schema: The table's schema for BigQuery.
            plots: Every figure as PNG and SVG.
            numbers: Means, fits and sentences as JSON.
        """
        return measure(cpu, gpu, predict_on_gpu, dict(locals()))

    return reference_benchmark
