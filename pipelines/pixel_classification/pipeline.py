"""`pixel_classification`: images in, the class of every pixel and objects of a class out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.classify_pixels.component import classify_pixels
from components.fetch_model.component import fetch_model
from components.postprocess.component import postprocess
from components.preprocess.component import preprocess
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

OUTPUTS = (*tail.OUTPUTS, OutputFile("class_images", "tif", "classes.tif"))


class Outputs(NamedTuple):
    """What the pipeline gives: the tail's, and class images."""

    label_images: list[dsl.Dataset]
    measurements: list[dsl.Dataset]
    scores: list[dsl.Dataset]
    reports: list[dsl.Dataset]
    exports: list[dsl.Dataset]
    summary: dsl.HTML
    table: dsl.Dataset
    numbers: dsl.Metrics
    class_images: list[dsl.Dataset]


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu = hardware["cpu"]

    @dsl.pipeline(name="pixel-classification")
    @described
    def pixel_classification(
        batches: list[list[dict[str, str]]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        z: str = "",
        z_step: float = 0.0,
        t: str = "",
        series: int = -1,
        compartment: str = "",
        method: str = "",
        parameters: dict = {},
        truth_kind: str = "",
        truth_compartment: str = "",
        label_dtype: str = "int32",
        export: str = "",
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Classify the pixels of images, cut a class into objects, measure and score them.

        Args:
            model: Pixel classifier, by path or URI of its folder.
            channels: Channels to classify by, by name or 0-based index, as in training.
            z: Plane of a stack, 0-based; `all` classifies volumes, by a classifier of volumes, or
                of planes one by one; empty where there is only one.
            compartment: The class whose objects are found; empty for the model's own.

        Returns:
            label_images: Label images as OME-TIFF.
            measurements: Measurements of the objects, as CSV and Parquet.
            scores: Metrics against the truth, as JSON.
            reports: Reports and overlays of the images.
            exports: Results in the forms of other programs, those that were asked for.
            summary: One page over all images.
            table: The summary as CSV, one row an image.
            numbers: The summary as JSON.
            class_images: The likeliest class of each pixel, as OME-TIFF.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest))
        with dsl.ParallelFor(batches, name="batches") as items:
            read = {"mpp": mpp, "z": z, "z_step": z_step, "t": t, "series": series}
            converted = cpu.place(
                tiff_to_npz(
                    items=items,
                    channels=channels,
                    measure_channels=measure_channels,
                    **read,
                    truth_kind=truth_kind,
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
            classified = cpu.place(
                classify_pixels(
                    preprocessed=prepared.outputs["preprocessed"],
                    model=fetched.outputs["model"],
                    on_bad_image=on_bad_image,
                )
            )
            segmented = cpu.place(
                postprocess(
                    predictions=classified.outputs["predictions"],
                    compartment=compartment,
                    method=method,
                    parameters=parameters,
                    on_bad_image=on_bad_image,
                )
            )
            results = tail.after_labels(
                cpu,
                images=converted.outputs["images"],
                labels=segmented.outputs["labels"],
                truth=converted.outputs["truth"],
                records={
                    "conversion": converted.outputs["record"],
                    "preprocess": prepared.outputs["record"],
                    "predict": classified.outputs["record"],
                    "postprocess": segmented.outputs["record"],
                },
                label_dtype=label_dtype,
                export=export,
                truth_compartment=truth_compartment,
                on_bad_image=on_bad_image,
            )
        summed = tail.over_all_batches(cpu, results)
        return Outputs(*summed, class_images=dsl.Collected(classified.outputs["classes"]))

    return pixel_classification
