"""`semantic_segmentation`: images in, the class of every pixel out, scored where there is truth."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.preprocess.component import preprocess
from components.report_classes.component import report_classes
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

OUTPUTS = (
    OutputFile("class_images", "tif", "classes.tif"),
    OutputFile("pages", "png", "classes.png"),
    OutputFile("pages", "html", "report.html"),
    OutputFile("scores", "json", "class-scores.json"),
    OutputFile("metrics", "", "classes.json"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    class_images: dsl.Dataset
    pages: dsl.Dataset
    scores: dsl.Dataset
    metrics: dsl.Metrics


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="semantic-segmentation")
    @described
    def semantic_segmentation(
        items: list[dict[str, str]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        mpp: float = 0.0,
        z: str = "",
        z_step: float = 0.0,
        t: str = "",
        series: int = -1,
        engine: str = "auto",
        batch_size: int = 8,
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Say of every pixel which class it has, and score that where there is truth.

        Args:
            items: Images, each with `image`, `truth` (a value a class), `name` and digests.
            model: Model of classes of pixels, by path or URI: `make run-training TASK=semantic`.
            channels: Channels as in training, by name or 0-based index.
            z: Plane of a stack, 0-based; `all` classifies volumes, by a network of volumes, or of
                planes one by one; empty where there is only one.
            engine: What computes the network; `auto` takes the fastest that proves equal.
            batch_size: Tiles predicted at once.

        Returns:
            class_images: The value of each pixel's likeliest class, as OME-TIFF.
            pages: A page for each image, and its classes over the image.
            scores: Scores of each image, as JSON.
            metrics: Scores over all images with truth.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        converted = cpu.place(
            tiff_to_npz(
                items=items,
                channels=channels,
                mpp=mpp,
                z=z,
                z_step=z_step,
                t=t,
                series=series,
                truth_kind="labels",
                on_bad_image=on_bad_image,
            )
        )
        prepared = cpu.place(
            preprocess(
                images=converted.outputs["images"],
                model=fetched.outputs["model"],
                on_bad_image=on_bad_image,
            )
        )
        predicted = gpu.place(
            predict_on_gpu(
                preprocessed=prepared.outputs["preprocessed"],
                model=fetched.outputs["model"],
                engine=engine,
                batch_size=batch_size,
                on_bad_image=on_bad_image,
                trust_model=trust_model,
            )
        )
        reported = cpu.place(
            report_classes(
                images=converted.outputs["images"],
                predictions=predicted.outputs["predictions"],
                truth=converted.outputs["truth"],
                on_bad_image=on_bad_image,
            )
        )
        return Outputs(
            class_images=reported.outputs["classes"],
            pages=reported.outputs["pages"],
            scores=reported.outputs["scores"],
            metrics=reported.outputs["metrics"],
        )

    return semantic_segmentation
