"""``slide_segmentation``: images larger than memory, each worked on by many tasks."""

from typing import Any, NamedTuple

from kfp import dsl

from components.export_labels.component import export_labels
from components.fetch_model.component import fetch_model
from components.measure.component import measure
from components.metrics.component import metrics
from components.plan_slide.component import plan_slide
from components.plan_watershed.component import plan_watershed
from components.predict_shard.component import predict_shard
from components.report.component import report
from components.segment_shard.component import segment_shard
from components.stitch.component import stitch
from components.summarize.component import summarize
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

OUTPUTS = (
    OutputFile("label_images", "tif", "labels.tif"),
    OutputFile("label_images", "ome.zarr", "labels.ome.zarr"),
    OutputFile("reports", "png", "overlay.png"),
    OutputFile("measurements", "csv", "measurements.csv"),
    OutputFile("measurements", "parquet", "measurements.parquet"),
    OutputFile("scores", "json", "metrics.json"),
    OutputFile("reports", "html", "report.html"),
    OutputFile("summary", "", "summary.html"),
    OutputFile("table", "", "summary.csv"),
    OutputFile("numbers", "", "summary.json"),
)


class Segmented(NamedTuple):
    """What the tasks of all shards give together."""

    labels: dsl.Dataset
    predict_record: dsl.Artifact
    segment_record: dsl.Artifact
    stitch_record: dsl.Artifact


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
    predict_on_gpu = gpu.use(predict_shard)

    def stored(task: dsl.PipelineTask) -> dsl.PipelineTask:
        """A task that writes into the slides' store is never taken from the cache."""
        return task.set_caching_options(False)

    # kfp.local cannot loop over an upstream task's list, but over a pipeline's parameter it can.
    @dsl.pipeline(name="slide-shards")
    def slide_shards(
        plan: dsl.Input[dsl.Dataset],
        images: dsl.Input[dsl.Dataset],
        model: dsl.Input[dsl.Model],
        shards: list[int],
        batch_size: int,
        precision: str,
        engine: str,
        memory_mib: int,
    ) -> Segmented:
        with dsl.ParallelFor(shards, name="predict") as shard:
            predicted = gpu.place(
                stored(
                    predict_on_gpu(
                        plan=plan,
                        images=images,
                        model=model,
                        shard=shard,
                        batch_size=batch_size,
                        precision=precision,
                        engine=engine,
                        memory_mib=memory_mib,
                    )
                )
            )
        watershed = cpu.place(
            stored(
                plan_watershed(
                    plan=plan,
                    predicted=dsl.Collected(predicted.outputs["predicted"]),
                    predict_records=dsl.Collected(predicted.outputs["record"]),
                    memory_mib=memory_mib,
                )
            )
        )
        with dsl.ParallelFor(shards, name="segment") as shard:
            segmented = cpu.place(
                stored(
                    segment_shard(
                        watershed=watershed.outputs["watershed"],
                        shard=shard,
                        memory_mib=memory_mib,
                    )
                )
            )
        stitched = cpu.place(
            stored(
                stitch(
                    watershed=watershed.outputs["watershed"],
                    segmented=dsl.Collected(segmented.outputs["segmented"]),
                    segment_records=dsl.Collected(segmented.outputs["record"]),
                    memory_mib=memory_mib,
                )
            )
        )
        return Segmented(
            labels=stitched.outputs["labels"],
            predict_record=watershed.outputs["predict_record"],
            segment_record=stitched.outputs["segment_record"],
            stitch_record=stitched.outputs["record"],
        )

    @dsl.pipeline(name="slide-segmentation")
    def slide_segmentation(
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
        store: str = "",
        most_shards: int = 16,
        memory_mib: int = 1024,
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Segment images of any size: cut into shards, predicted and segmented side by side.

        The cells are those of `deepcell_segmentation`, however the image is cut up.

        Args:
            batches: Batches of images, best one image each; each image has `image`, `truth`,
                `name` and digests.
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
            store: Folder or URI of the slides' large arrays; empty is beside the tasks' outputs.
            most_shards: At most so many tasks work on a slide side by side.
            memory_mib: Memory each task works in, in MiB, beyond its program and model.
            on_bad_image: `fail` the run, or `skip` the image and go on.

        Returns:
            label_images: Label images as pyramidal OME-TIFF and OME-Zarr.
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
                stored(
                    tiff_to_npz(
                        items=items,
                        channels=channels,
                        measure_channels=measure_channels,
                        mpp=mpp,
                        z=z,
                        t=t,
                        series=series,
                        container="zarr",
                        store=store,
                        memory_mib=memory_mib,
                        on_bad_image=on_bad_image,
                    )
                )
            )
            planned = cpu.place(
                stored(
                    plan_slide(
                        images=converted.outputs["images"],
                        model=fetched.outputs["model"],
                        compartment=compartment,
                        store=store,
                        most_shards=most_shards,
                        memory_mib=memory_mib,
                        on_bad_image=on_bad_image,
                    )
                )
            )
            done = slide_shards(
                plan=planned.outputs["plan"],
                images=converted.outputs["images"],
                model=fetched.outputs["model"],
                shards=planned.outputs["shards"],
                batch_size=batch_size,
                precision=precision,
                engine=engine,
                memory_mib=memory_mib,
            )
            labels = done.outputs["labels"]
            exported = cpu.place(
                export_labels(
                    labels=labels, dtype=label_dtype, ome_zarr=True, memory_mib=memory_mib
                )
            )
            measured = cpu.place(
                measure(
                    images=converted.outputs["images"],
                    labels=labels,
                    memory_mib=memory_mib,
                    on_bad_image=on_bad_image,
                )
            )
            scored = cpu.place(
                metrics(
                    labels=labels,
                    truth=converted.outputs["truth"],
                    truth_compartment=truth_compartment,
                    memory_mib=memory_mib,
                    on_bad_image=on_bad_image,
                )
            )
            reported = cpu.place(
                report(
                    images=converted.outputs["images"],
                    labels=labels,
                    measurements=measured.outputs["measurements"],
                    scores=scored.outputs["scores"],
                    truth=converted.outputs["truth"],
                    conversion_record=converted.outputs["record"],
                    preprocess_record=planned.outputs["record"],
                    predict_record=done.outputs["predict_record"],
                    postprocess_record=done.outputs["segment_record"],
                    stitch_record=done.outputs["stitch_record"],
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

    return slide_segmentation
