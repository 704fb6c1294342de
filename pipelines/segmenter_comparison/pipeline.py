"""``segmenter_comparison``: images with truth × segmenters → one table, one page."""

from typing import Any

from kfp import dsl

from components.predict.component import predict
from pipelines.comparing import OUTPUTS, Outputs, compare
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware

__all__ = ["OUTPUTS", "WITH_REFERENCE", "build"]

#: The same with a row for DeepCell's own package.
WITH_REFERENCE = "reference_comparison"


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="segmenter-comparison")
    @described
    def segmenter_comparison(
        items: list[dict[str, str]],
        segmenters: list[dict[str, str]],
        channels: str = "",
        mpp: float = 0.0,
        diameter: str = "",
        z: str = "",
        t: str = "",
        series: int = -1,
        batch_size: int = 8,
        precision: str = "float32",
        engine: str = "auto",
        compartment: str = "",
        truth_kind: str = "",
        truth_compartment: str = "",
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Compare segmenters on images with truth: each goes through the stages of every run.

        Args:
            diameter: The objects' diameter in pixels, which is brought to the one that each model
                was trained on; `auto` estimates it. Empty goes by the pixel size.
            precision: Compute type of the networks: `float32` or a mixed one.
            engine: What computes the networks: `tensorflow`, `openvino` or `onnxruntime`; `auto`
                takes the fastest that is there and gives the same heads.
            trust_model: Load networks even if they could do more than compute: read files, run
                code.

        Returns:
            comparison: The page.
            table: The figures as CSV, a row a segmenter.
            numbers: The figures as JSON.
        """
        return compare(cpu, gpu, predict_on_gpu, dict(locals()))

    return segmenter_comparison
