"""`slide_segmentation`: images larger than memory, each worked on by many tasks."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.plan_segmentation.component import plan_segmentation
from components.plan_slide.component import plan_slide
from components.predict_shard.component import predict_shard
from components.segment_shard.component import segment_shard
from components.stitch.component import stitch
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware, Machine
from pipelines.outputs import OutputFile

OUTPUTS = (*tail.OUTPUTS, OutputFile("label_images", "ome.zarr", "labels.ome.zarr"))


class Segmented(NamedTuple):
    """What the tasks of all shards give together."""

    labels: dsl.Dataset
    predict_record: dsl.Artifact
    segment_record: dsl.Artifact
    stitch_record: dsl.Artifact


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu = hardware["cpu"]
    slide_shards = _shards(cpu, hardware["gpu"])

    @dsl.pipeline(name="slide-segmentation")
    @described
    def slide_segmentation(
        batches: list[list[dict[str, str]]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        diameter: str = "",
        z: str = "",
        t: str = "",
        series: int = -1,
        batch_size: int = 8,
        precision: str = "float32",
        engine: str = "auto",
        compartment: str = "",
        method: str = "",
        parameters: dict = {},
        truth_kind: str = "",
        truth_compartment: str = "",
        label_dtype: str = "int32",
        export: str = "",
        store: str = "",
        most_shards: int = 16,
        memory_mib: int = 1024,
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> tail.Outputs:
        """Segment images of any size: cut into shards, predicted and segmented side by side.

        The cells are those of `deepcell_segmentation`, however the image is cut up.

        Args:
            batches: Batches of images, best one image each; each image has `image`, `truth`,
                `name` and digests.
            model: Model by name, path or URI; empty for the one that ships. `voronoi_otsu` needs no
                network.
            channels: Channels to segment, by name or 0-based index, in the model's order.
            diameter: The objects' diameter in pixels, which is brought to the one that the model
                was trained on; `auto` estimates it. Empty goes by the pixel size.
            compartment: `nuclear`, `whole-cell`, `both` or another kind that the model has, or
                several with commas between; empty for the model's own.
            store: Folder or URI of the slides' large arrays; empty is beside the tasks' outputs.
            most_shards: At most so many tasks work on a slide side by side.
            memory_mib: Memory each task works in, in MiB, beyond its program and model.

        Returns:
            label_images: Label images as pyramidal OME-TIFF and OME-Zarr.
            measurements: Measurements of the cells, as CSV and Parquet.
            scores: Metrics against the truth, as JSON.
            reports: Reports and overlays of the images.
            exports: Results in the forms of other programs, those that were asked for.
            summary: One page over all images.
            table: The summary as CSV, one row an image.
            numbers: The summary as JSON.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        with dsl.ParallelFor(batches, name="batches") as items:
            converted = _stored(
                cpu,
                tiff_to_npz(
                    items=items,
                    channels=channels,
                    measure_channels=measure_channels,
                    mpp=mpp,
                    z=z,
                    t=t,
                    series=series,
                    truth_kind=truth_kind,
                    container="zarr",
                    store=store,
                    memory_mib=memory_mib,
                    on_bad_image=on_bad_image,
                ),
            )
            planned = _stored(
                cpu,
                plan_slide(
                    images=converted.outputs["images"],
                    model=fetched.outputs["model"],
                    compartment=compartment,
                    method=method,
                    parameters=parameters,
                    diameter=diameter,
                    store=store,
                    most_shards=most_shards,
                    memory_mib=memory_mib,
                    on_bad_image=on_bad_image,
                ),
            )
            done = slide_shards(
                plan=planned.outputs["plan"],
                images=converted.outputs["images"],
                model=fetched.outputs["model"],
                shards=planned.outputs["shards"],
                batch_size=batch_size,
                precision=precision,
                engine=engine,
                trust_model=trust_model,
                memory_mib=memory_mib,
            )
            results = tail.after_labels(
                cpu,
                images=converted.outputs["images"],
                labels=done.outputs["labels"],
                truth=converted.outputs["truth"],
                records={
                    "conversion": converted.outputs["record"],
                    "preprocess": planned.outputs["record"],
                    "predict": done.outputs["predict_record"],
                    "postprocess": done.outputs["segment_record"],
                    "stitch": done.outputs["stitch_record"],
                },
                label_dtype=label_dtype,
                export=export,
                truth_compartment=truth_compartment,
                on_bad_image=on_bad_image,
                ome_zarr=True,
                memory_mib=memory_mib,
            )
        return tail.over_all_batches(cpu, results)

    return slide_segmentation


def _shards(cpu: Machine, gpu: Machine) -> Any:
    """Return the pipeline of a slide's shards: predicted and segmented side by side, stitched."""
    predict_on_gpu = gpu.use(predict_shard)

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
        trust_model: bool,
        memory_mib: int,
    ) -> Segmented:
        with dsl.ParallelFor(shards, name="predict") as shard:
            predicted = _stored(
                gpu,
                predict_on_gpu(
                    plan=plan,
                    images=images,
                    model=model,
                    shard=shard,
                    batch_size=batch_size,
                    precision=precision,
                    engine=engine,
                    trust_model=trust_model,
                    memory_mib=memory_mib,
                ),
            )
        settled = _stored(
            cpu,
            plan_segmentation(
                plan=plan,
                predicted=dsl.Collected(predicted.outputs["predicted"]),
                predict_records=dsl.Collected(predicted.outputs["record"]),
                memory_mib=memory_mib,
            ),
        )
        with dsl.ParallelFor(shards, name="segment") as shard:
            segmented = _stored(
                cpu,
                segment_shard(
                    segmentation=settled.outputs["segmentation"],
                    shard=shard,
                    memory_mib=memory_mib,
                ),
            )
        stitched = _stored(
            cpu,
            stitch(
                segmentation=settled.outputs["segmentation"],
                segmented=dsl.Collected(segmented.outputs["segmented"]),
                segment_records=dsl.Collected(segmented.outputs["record"]),
                memory_mib=memory_mib,
            ),
        )
        return Segmented(
            labels=stitched.outputs["labels"],
            predict_record=settled.outputs["predict_record"],
            segment_record=stitched.outputs["segment_record"],
            stitch_record=stitched.outputs["record"],
        )

    return slide_shards


def _stored(machine: Machine, task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Place a task that writes into the slides' store: it is never taken from the cache."""
    return machine.place(task.set_caching_options(False))
