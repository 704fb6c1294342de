"""``reference_comparison``: as `segmenter_comparison`, with DeepCell's own package for a row."""

from typing import Any

from kfp import dsl

from components.predict.component import predict
from pipelines.comparing import OUTPUTS, Outputs, compare
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware

__all__ = ["OUTPUTS", "build"]


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="reference-comparison")
    @described
    def reference_comparison(
        items: list[dict[str, str]],
        segmenters: list[dict[str, str]],
        reference_model: str = "Mesmer",
        reference_model_digest: str = "",
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
        """Compare segmenters on images with truth, and with DeepCell's Mesmer run by its package.

        Args:
            reference_model: Mesmer's network that DeepCell's package runs: a name, a path or a URI.
            reference_model_digest: Digest of the network, where it is a file.
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

    return reference_comparison
