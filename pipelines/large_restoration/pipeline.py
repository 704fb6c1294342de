"""`large_restoration`: volumes and images larger than memory, each deconvolved by many tasks."""

from typing import Any, NamedTuple

from kfp import dsl

from components.deconvolve_shard.component import deconvolve_shard
from components.export_images.component import export_images
from components.gather_deconvolved.component import gather_deconvolved
from components.plan_deconvolution.component import plan_deconvolution
from components.tiff_to_npz.component import tiff_to_npz
from pipelines.hardware import PORTABLE, Hardware, Machine
from pipelines.outputs import OutputFile
from pipelines.restoring import CONVERSION, Restored, chosen, optics_of, point_spread

#: Parameters of `plan_deconvolution`.
PLANNING = (
    *(
        "iterations",
        "total_variation",
        "background",
        "offset",
        "saturation",
        "most_shards",
        "memory_mib",
    ),
    "on_bad_image",
)

OUTPUTS = (
    OutputFile("restored", "tif", "restored.tif"),
    OutputFile("restorations", "html", "restoration.html"),
    OutputFile("restorations", "png", "restoration.png"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    restorations: list[dsl.Dataset]
    restored: list[dsl.Dataset]


class Deconvolved(NamedTuple):
    """What the tasks of all shards give together."""

    restored: dsl.Dataset
    record: dsl.Artifact


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu = hardware["cpu"]
    shards_of = _shards(cpu)

    @dsl.pipeline(name="large-restoration")
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
        background: str = "auto",
        offset: float = 0.0,
        saturation: float = 0.0,
        dtype: str = "float32",
        channels: str = "",
        measure_channels: str = "",
        mpp: float = 0.0,
        z: str = "all",
        z_step: float = 0.0,
        t: str = "",
        series: int = -1,
        store: str = "",
        most_shards: int = 16,
        memory_mib: int = 1024,
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Deconvolve volumes and images of any size, each by many tasks that share a store.

        The voxels do not depend on how many tasks there are, or on which does what.

        Args:
            batches: Batches of images, best one image each; each image has `image`, `name` and
                digests.
            numerical_aperture: Of the objective; with `emission_nm` the PSF is computed.
            emission_nm: Wavelength of the light that is seen, nm; several with commas between, one
                for each channel.
            microscope: `widefield`, `confocal` or `light_sheet`.
            psf_model: `scalar`, or `vectorial`, which counts polarisation.
            immersion_index: Refractive index between objective and cover slip.
            sample_index: Refractive index of the sample; 0 is that of the immersion medium.
            depth_um: How deep under the cover slip the sample lies, µm.
            excitation_nm: Wavelengths of the light that excites, for `confocal`, nm.
            pinhole_airy: Diameter of the pinhole in Airy units, for `confocal`.
            sheet_um: Thickness of the light sheet, full width at half maximum, µm.
            bead_image: Image of beads to measure the PSF on, in place of the microscope's numbers.
            bead_image_digest: Its digest, so that changed bytes miss the cache.
            psf_image: Image of the PSF itself, in place of the microscope's numbers.
            psf_image_digest: Its digest, so that changed bytes miss the cache.
            psf_shape: Voxels of the PSF along each axis, odd, with commas between; empty for
                what holds it.
            iterations: Of Richardson-Lucy.
            total_variation: Weight that keeps noise from becoming grains; 0 is none.
            background: Light everywhere, beside the offset: a number, one for each channel, or
                `auto`.
            offset: Grey levels that the camera adds, taken off before.
            saturation: Voxels at or above it were not measured; 0 is the integers' largest.
            dtype: `float32`, or `uint16` scaled so that the brightest fits.
            channels: Channels to restore, by name or 0-based index.
            measure_channels: Further channels to restore; `all` for every one.
            mpp: Pixel size in microns, where the file does not say; 0 for unknown.
            z: `all` for the volume; or a plane of a stack, 0-based.
            z_step: Microns between the planes of a stack, where the file does not say.
            t: Time point of a series, 0-based; `all` for each as an image of its own; empty where
                there is only one.
            series: Image of a file that holds several, 0-based; -1 for the only or largest one.
            store: Folder or URI of the images' large arrays; empty is beside the tasks' outputs.
            most_shards: At most so many tasks work on an image side by side.
            memory_mib: Memory each task works in, in MiB, beyond what the program itself takes.
            on_bad_image: `fail` the run, or `skip` the image and go on.

        Returns:
            restorations: A page for each image, before and after.
            restored: The restored images as OME-TIFF.
        """
        given = dict(locals())
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
            shown = restored.show(cpu, on_bad_image=on_bad_image)
            exported = cpu.place(export_images(images=restored.restored, on_bad_image=on_bad_image))
        return Outputs(
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
