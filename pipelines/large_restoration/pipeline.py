"""`large_restoration`: volumes larger than memory, deconvolved by many tasks, and their cells."""

from typing import Any, NamedTuple

from kfp import dsl

from components.deconvolve_shard.component import deconvolve_shard
from components.export_images.component import export_images
from components.fetch_model.component import fetch_model
from components.gather_deconvolved.component import gather_deconvolved
from components.plan_deconvolution.component import plan_deconvolution
from components.predict.component import predict
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware, Machine
from pipelines.outputs import OutputFile
from pipelines.parameters import CONVERSION, chosen
from pipelines.restoring import Restored, optics_of, point_spread
from pipelines.segmenting import segment

#: Parameters of `plan_deconvolution`.
PLANNING = (
    *(
        "iterations",
        "total_variation",
        "accelerate",
        "consensus",
        "gain",
        "background",
        "offset",
        "saturation",
        "most_shards",
        "memory_mib",
    ),
    "on_bad_image",
)

#: Parameters of `segment`, and of `tail.after_labels`.
SEGMENTATION = ("diameter", "compartment", "method", "parameters", "on_bad_image", "memory_mib")
TAIL = ("label_dtype", "export", "truth_compartment", "on_bad_image", "memory_mib")

OUTPUTS = (
    *tail.OUTPUTS,
    OutputFile("restored", "tif", "restored.tif"),
    OutputFile("restorations", "html", "restoration.html"),
    OutputFile("restorations", "png", "restoration.png"),
)


class Outputs(NamedTuple):
    """What the pipeline gives: what every pipeline with labels does, and pages on restorations."""

    label_images: list[dsl.Dataset]
    measurements: list[dsl.Dataset]
    scores: list[dsl.Dataset]
    reports: list[dsl.Dataset]
    exports: list[dsl.Dataset]
    summary: dsl.HTML
    table: dsl.Dataset
    numbers: dsl.Metrics
    restorations: list[dsl.Dataset]
    restored: list[dsl.Dataset]


class Deconvolved(NamedTuple):
    """What the tasks of all shards give together."""

    restored: dsl.Dataset
    record: dsl.Artifact


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)
    shards_of = _shards(cpu)

    @dsl.pipeline(name="large-restoration")
    @described
    def large_restoration(
        batches: list[list[dict[str, str]]],
        numerical_aperture: float = 0.0,
        emission_nm: str = "",
        microscope: str = "widefield",
        psf_model: str = "scalar",
        immersion_index: float = 1.515,
        sample_index: float = 0.0,
        depth_um: float = 0.0,
        excitation_nm: str = "",
        pinhole_airy: float = 1.0,
        sheet_um: float = 0.0,
        bead_image: str = "",
        bead_image_digest: str = "",
        psf_image: str = "",
        psf_image_digest: str = "",
        psf_shape: str = "",
        iterations: int = 50,
        total_variation: float = 0.002,
        accelerate: bool = False,
        consensus: bool = False,
        gain: float = 0.0,
        background: str = "auto",
        offset: float = 0.0,
        saturation: float = 0.0,
        dtype: str = "float32",
        model: str = "voronoi_otsu",
        model_digest: str = "",
        method: str = "",
        parameters: dict = {},
        compartment: str = "",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        diameter: str = "",
        z: str = "all",
        z_step: float = 0.0,
        t: str = "",
        series: int = -1,
        truth_kind: str = "",
        truth_compartment: str = "",
        label_dtype: str = "int32",
        export: str = "",
        batch_size: int = 8,
        engine: str = "auto",
        store: str = "",
        most_shards: int = 16,
        memory_mib: int = 1024,
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Deconvolve images of any size by many tasks, segment them, and measure the original.

        The restored voxels do not depend on how many tasks there are, or on which does what.

        Args:
            batches: Batches of images, best one image each; each image has `image`, `truth`,
                `name` and digests.
            consensus: Go on only where both halves of the photons, split at random, ask for the
                same change; iterations are then the most.
            dtype: `float32`, or `uint16` scaled so that the brightest fits.
            compartment: `nuclear`, `whole-cell`, `both` or another kind that the model has, or
                several with commas between; empty for the model's own.
            channels: Channels to restore and segment, by name or 0-based index.
            measure_channels: Further channels to restore and measure; `all` for every one.
            diameter: The objects' diameter in pixels, which is brought to the model's; `auto`
                estimates it. Empty goes by the pixel size.
            z: `all` for the volume; or a plane of a stack, 0-based.
            z_step: Microns between the planes of a stack, where the file does not say.
            engine: What computes a network; `auto` takes the fastest that gives the same heads.
            store: Folder or URI of the images' large arrays; empty is beside the tasks' outputs.
            most_shards: At most so many tasks work on an image side by side.
            memory_mib: Memory each task works in, in MiB, beyond what the program itself takes.

        Returns:
            label_images: Label images as OME-TIFF.
            measurements: Measurements of the cells, as CSV and Parquet.
            scores: Metrics against the truth, as JSON.
            reports: Reports and overlays of the images.
            exports: Results in the forms of other programs, those that were asked for.
            summary: One page over all images.
            table: The summary as CSV, one row an image.
            numbers: The summary as JSON.
            restorations: A page for each image, before and after.
            restored: The restored images as OME-TIFF.
        """
        given = dict(locals())
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        with dsl.ParallelFor(batches, name="batches") as items:
            settings = chosen(given, CONVERSION, store="store", memory_mib="memory_mib")
            converted = _stored(cpu, tiff_to_npz(items=items, container="zarr", **settings))
            images = converted.outputs["images"]
            psf = point_spread(cpu, optics_of(given), images).outputs["psf"]
            planned = _stored(
                cpu,
                plan_deconvolution(images=images, psf=psf, store=store, **chosen(given, PLANNING)),
            )
            done = shards_of(
                plan=planned.outputs["plan"],
                images=images,
                shards=planned.outputs["shards"],
                dtype=dtype,
                memory_mib=memory_mib,
            )
            restored = Restored(images, done.outputs["restored"], psf, done.outputs["record"])
            exported = cpu.place(export_images(images=restored.restored, on_bad_image=on_bad_image))
            segmented = segment(
                cpu,
                gpu,
                predict_on_gpu,
                images=restored.restored,
                model=fetched.outputs["model"],
                network=chosen(given, ("batch_size", "engine", "trust_model")),
                **chosen(given, SEGMENTATION),
            )
            truth = converted.outputs["truth"]
            shown = restored.show(
                cpu, labels=segmented.labels, truth=truth, on_bad_image=on_bad_image
            )
            results = tail.after_labels(
                cpu,
                images=images,
                labels=segmented.labels,
                truth=truth,
                records={"conversion": converted.outputs["record"], **segmented.records},
                **chosen(given, TAIL),
            )
        return Outputs(
            *tail.over_all_batches(cpu, results),
            restorations=dsl.Collected(shown.outputs["pages"]),
            restored=dsl.Collected(exported.outputs["image_files"]),
        )

    return large_restoration


def _shards(cpu: Machine) -> Any:
    """Return the pipeline of the tasks that deconvolve an image side by side."""

    # kfp.local cannot loop over an upstream task's list, but over a pipeline's parameter it can.
    @dsl.pipeline(name="deconvolution-shards")
    def deconvolution_shards(
        plan: dsl.Input[dsl.Dataset],
        images: dsl.Input[dsl.Dataset],
        shards: list[int],
        dtype: str,
        memory_mib: int,
    ) -> Deconvolved:
        with dsl.ParallelFor(shards, name="deconvolve") as shard:
            part = _stored(
                cpu,
                deconvolve_shard(plan=plan, images=images, shard=shard, memory_mib=memory_mib),
            )
        gathered = _stored(
            cpu,
            gather_deconvolved(
                plan=plan,
                images=images,
                deconvolved=dsl.Collected(part.outputs["deconvolved"]),
                shard_records=dsl.Collected(part.outputs["record"]),
                dtype=dtype,
                memory_mib=memory_mib,
            ),
        )
        return Deconvolved(gathered.outputs["restored"], gathered.outputs["record"])

    return deconvolution_shards


def _stored(machine: Machine, task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Place a task that writes into the images' store: it is never taken from the cache."""
    return machine.place(task.set_caching_options(False))
