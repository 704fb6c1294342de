"""``deepcell_segmentation``: images in, cells out, over batches of images."""

from typing import Any, NamedTuple

from kfp import dsl

from components.export_labels.component import export_labels
from components.fetch_model.component import fetch_model
from components.measure.component import measure
from components.metrics.component import metrics
from components.postprocess.component import postprocess
from components.predict.component import predict
from components.preprocess.component import preprocess
from components.report.component import report
from components.summarize.component import summarize
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

OUTPUTS = (
    OutputFile("label_images", "tif", "labels.tif"),
    OutputFile("reports", "png", "overlay.png"),
    OutputFile("measurements", "csv", "measurements.csv"),
    OutputFile("measurements", "parquet", "measurements.parquet"),
    OutputFile("scores", "json", "metrics.json"),
    OutputFile("reports", "html", "report.html"),
    OutputFile("summary", "", "summary.html"),
    OutputFile("table", "", "summary.csv"),
    OutputFile("numbers", "", "summary.json"),
)


class Outputs(NamedTuple):
    """What the pipeline gives: lists hold one artifact per batch."""

    label_images: list[dsl.Dataset]
    measurements: list[dsl.Dataset]
    scores: list[dsl.Dataset]
    reports: list[dsl.Dataset]
    summary: dsl.HTML
    table: dsl.Dataset
    numbers: dsl.Metrics


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="deepcell-segmentation")
    def deepcell_segmentation(
        batches: list[list[dict[str, str]]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        z: int = -1,
        t: int = -1,
        series: int = -1,
        batch_size: int = 8,
        precision: str = "float32",
        engine: str = "tensorflow",
        compartment: str = "",
        truth_compartment: str = "",
        label_dtype: str = "int32",
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Segment microscopy images into cells, measure them, and score them where truth is given.

        Args:
            batches: Batches of images; each image has `image`, `truth`, `name` and digests.
            model: Model as a path, a URI or a DeepCell name; empty for the one that ships.
            model_digest: Digest of a model that is a file, so that changed bytes miss the cache.
            channels: Channels to segment, by name or 0-based index, in the model's order.
            measure_channels: Further channels to measure; `all` for every one.
            mpp: Pixel size in microns, where the file does not say; 0 for unknown.
            z: Plane of a stack, 0-based; -1 where there is only one.
            t: Time point of a series, 0-based; -1 where there is only one.
            series: Image of a file that holds several, 0-based; -1 for the only or largest one.
            batch_size: Tiles predicted at a time.
            precision: Compute type of the network: `float32` or a mixed one.
            engine: What computes the network: `tensorflow`, or `openvino`, faster on CPUs.
            compartment: `nuclear`, `whole-cell` or `both`; empty for the model's own.
            truth_compartment: What truth of one plane shows; empty for whatever is segmented.
            label_dtype: `int32`, or `uint16` where the labels fit.
            on_bad_image: `fail` the run, or `skip` the image and go on.

        Returns:
            label_images: Label images as OME-TIFF.
            measurements: Measurements of the cells, as CSV and Parquet.
            scores: Metrics against the truth, as JSON.
            reports: Reports and overlays of the images.
            summary: One page over all images.
            table: The summary as CSV, one row an image.
            numbers: The summary as JSON.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest))
        with dsl.ParallelFor(batches, name="batches") as items:
            converted = cpu.place(
                tiff_to_npz(
                    items=items,
                    channels=channels,
                    measure_channels=measure_channels,
                    mpp=mpp,
                    z=z,
                    t=t,
                    series=series,
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
                    batch_size=batch_size,
                    precision=precision,
                    engine=engine,
                    compartment=compartment,
                    on_bad_image=on_bad_image,
                )
            )
            segmented = cpu.place(
                postprocess(
                    predictions=predicted.outputs["predictions"],
                    compartment=compartment,
                    on_bad_image=on_bad_image,
                )
            )
            exported = cpu.place(
                export_labels(
                    labels=segmented.outputs["labels"],
                    dtype=label_dtype,
                )
            )
            measured = cpu.place(
                measure(
                    images=converted.outputs["images"],
                    labels=segmented.outputs["labels"],
                    on_bad_image=on_bad_image,
                )
            )
            scored = cpu.place(
                metrics(
                    labels=segmented.outputs["labels"],
                    truth=converted.outputs["truth"],
                    truth_compartment=truth_compartment,
                    on_bad_image=on_bad_image,
                )
            )
            reported = cpu.place(
                report(
                    images=converted.outputs["images"],
                    labels=segmented.outputs["labels"],
                    measurements=measured.outputs["measurements"],
                    scores=scored.outputs["scores"],
                    truth=converted.outputs["truth"],
                    conversion_record=converted.outputs["record"],
                    preprocess_record=prepared.outputs["record"],
                    predict_record=predicted.outputs["record"],
                    postprocess_record=segmented.outputs["record"],
                    measure_record=measured.outputs["record"],
                    metrics_record=scored.outputs["record"],
                    on_bad_image=on_bad_image,
                )
            )
        summary = cpu.place(summarize(reports=dsl.Collected(reported.outputs["reports"])))
        return Outputs(
            label_images=dsl.Collected(exported.outputs["label_images"]),
            measurements=dsl.Collected(measured.outputs["measurements"]),
            scores=dsl.Collected(scored.outputs["scores"]),
            reports=dsl.Collected(reported.outputs["reports"]),
            summary=summary.outputs["summary"],
            table=summary.outputs["table"],
            numbers=summary.outputs["numbers"],
        )

    return deepcell_segmentation
