"""``segmenter_comparison``: images with truth × segmenters → one table, one page."""

from typing import Any

from kfp import dsl

from components.predict.component import predict
from pipelines.comparing import OUTPUTS, Outputs, compare
from pipelines.hardware import PORTABLE, Hardware

__all__ = ["OUTPUTS", "WITH_REFERENCE", "build"]

#: The same with a row for DeepCell's own package.
WITH_REFERENCE = "reference_comparison"


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="segmenter-comparison")
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
            items: Images, each with `image`, `truth`, `name` and digests.
            segmenters: Segmenters, each with `name`, `model` (a name, a path or a URI) and
                `digest`.
            channels: Channels to segment, by name or 0-based index, in the models' order.
            mpp: Pixel size in microns, where the file does not say; 0 for unknown.
            diameter: The objects' diameter in pixels, which is brought to the one that each model
                was trained on; `auto` estimates it. Empty goes by the pixel size.
            z: Plane of a stack, 0-based; empty where there is only one.
            t: Time point of a series, 0-based; `all` for each as an image of its own; empty where
                there is only one.
            series: Image of a file that holds several, 0-based; -1 for the only or largest one.
            batch_size: Tiles predicted at a time.
            precision: Compute type of the networks: `float32` or a mixed one.
            engine: What computes the networks: `tensorflow`, `openvino` or `onnxruntime`; `auto`
                takes the fastest that is there and gives the same heads.
            compartment: `nuclear`, `whole-cell` or `both`; empty for each model's own.
            truth_kind: What truth files are: `labels`, `mask`, `colours` or `planes`; empty for
                what each says of itself.
            truth_compartment: What truth of one plane shows; empty for whatever is segmented.
            on_bad_image: `fail` the run, or `skip` the image and go on.
            trust_model: Load networks even if they could do more than compute: read files, run
                code.

        Returns:
            comparison: The page.
            table: The figures as CSV, a row a segmenter.
            numbers: The figures as JSON.
        """
        return compare(cpu, gpu, predict_on_gpu, dict(locals()))

    return segmenter_comparison
