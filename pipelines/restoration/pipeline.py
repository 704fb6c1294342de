"""`restoration`: volumes and a microscope in, restored volumes' cells out, over batches."""

from typing import Any, NamedTuple

from kfp import dsl

from components.export_images.component import export_images
from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.tiff_to_npz.component import tiff_to_npz
from pipelines import tail
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile
from pipelines.parameters import CONVERSION, chosen
from pipelines.restoring import (
    DECONVOLUTION,
    optics_of,
    point_spread,
    restore,
)
from pipelines.segmenting import segment

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


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="restoration")
    @described
    def restoration(
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
        accelerate: bool = True,
        consensus: bool = False,
        gain: float = 0.0,
        edges: str = "valid",
        background: str = "auto",
        offset: float = 0.0,
        saturation: float = 0.0,
        memory_mib: int = 4096,
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
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Deconvolve volumes or images, segment what comes out, and measure on the original pixels.

        Args:
            consensus: Go on only where both halves of the photons, split at random, ask for the
                same change; `iterations` are then the most.
            memory_mib: Memory to deconvolve in, MiB.
            compartment: `nuclear`, `whole-cell`, `both` or another kind that the model has, or
                several with commas between; empty for the model's own.
            channels: Channels to restore and segment, by name or 0-based index.
            measure_channels: Further channels to restore and measure; `all` for every one.
            diameter: The objects' diameter in pixels, which is brought to the model's; `auto`
                estimates it. Empty goes by the pixel size.
            z: `all` for the volume; or a plane of a stack, 0-based.
            z_step: Microns between the planes of a stack, where the file does not say.
            engine: What computes a network; `auto` takes the fastest that gives the same heads.

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
            converted = cpu.place(tiff_to_npz(items=items, **chosen(given, CONVERSION)))
            images = converted.outputs["images"]
            function = point_spread(cpu, optics_of(given), images)
            settings = chosen(given, DECONVOLUTION)
            restored = restore(cpu, images, function.outputs["psf"], settings, on_bad_image)
            exported = cpu.place(export_images(images=restored.restored))
            segmented = segment(
                cpu,
                gpu,
                predict_on_gpu,
                images=restored.restored,
                model=fetched.outputs["model"],
                diameter=diameter,
                compartment=compartment,
                method=method,
                parameters=parameters,
                network=chosen(given, ("batch_size", "engine", "trust_model")),
                on_bad_image=on_bad_image,
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
                label_dtype=label_dtype,
                export=export,
                truth_compartment=truth_compartment,
                on_bad_image=on_bad_image,
            )
        return Outputs(
            *tail.over_all_batches(cpu, results),
            restorations=dsl.Collected(shown.outputs["pages"]),
            restored=dsl.Collected(exported.outputs["image_files"]),
        )

    return restoration
