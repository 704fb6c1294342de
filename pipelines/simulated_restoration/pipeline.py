"""`simulated_restoration`: restoration tried on volumes of known truth, in three ways."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.simulate.component import simulate
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile
from pipelines.parameters import chosen
from pipelines.restoring import DECONVOLUTION, optics_of, point_spread, restore
from pipelines.segmenting import segment

#: Parameters of `simulate`, where they have the same name.
PHANTOM = (
    *("count", "depth", "height", "width", "smallest_um", "largest_um", "photons"),
    *("background_photons", "offset", "seed"),
)

OUTPUTS = (
    OutputFile("restorations", "html", "restoration.html"),
    OutputFile("restorations", "png", "restoration.png"),
    OutputFile("numbers", "", "restoration.json"),
    OutputFile("psf", "", "psf.html"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    restorations: dsl.Dataset
    numbers: dsl.Metrics
    psf: dsl.HTML


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="simulated-restoration")
    @described
    def simulated_restoration(
        numerical_aperture: float = 1.0,
        emission_nm: str = "520",
        microscope: str = "widefield",
        psf_model: str = "scalar",
        immersion_index: float = 1.33,
        sample_index: float = 0.0,
        depth_um: float = 0.0,
        pinhole_airy: float = 1.0,
        sheet_um: float = 0.0,
        voxel_um: str = "0.3,0.12,0.12",
        psf_shape: str = "41,41,41",
        objects: str = "spheres",
        count: int = 6,
        depth: int = 32,
        height: int = 112,
        width: int = 112,
        smallest_um: float = 1.4,
        largest_um: float = 2.2,
        photons: float = 100.0,
        background_photons: float = 10.0,
        simulations: int = 1,
        seed: int = 0,
        iterations: int = 50,
        total_variation: float = 0.002,
        accelerate: bool = True,
        consensus: bool = False,
        edges: str = "valid",
        background: str = "auto",
        offset: float = 100.0,
        model: str = "voronoi_otsu",
        model_digest: str = "",
        method: str = "",
        parameters: dict = {"spot_sigma": 4.0},
    ) -> Outputs:
        """Simulate volumes, restore them with and without total variation, count what is found.

        Args:
            numerical_aperture: Of the objective.
            emission_nm: Wavelength of the light that is seen, nm.
            voxel_um: Voxel size z, y, x in µm, with commas between.
            psf_shape: Voxels of the PSF along each axis, odd, with commas between.
            objects: `spheres`, `beads` or `filaments`.
            count: How many.
            depth: Voxels along z.
            height: Voxels along y.
            width: Voxels along x.
            smallest_um: Least radius, µm.
            largest_um: Greatest radius, µm.
            photons: Of the brightest voxel above the background.
            background_photons: Everywhere.
            simulations: How many volumes.
            seed: Of objects and noise.
            iterations: Of Richardson-Lucy, both times.
            total_variation: Weight that keeps noise from becoming grains.
            accelerate: Extrapolate, both times.
            consensus: Go on only where both halves of the photons ask for the same change, both
                times; `iterations` are then the most.
            background: Light everywhere, beside the offset: a number, or `auto`.
            offset: Grey levels that the camera adds, taken off before deconvolution.
            parameters: Parameters of the method in place of the model's, by name, a JSON object;
                `{}` for another method.

        Returns:
            restorations: A page for each volume: before, after, and the truth.
            numbers: Errors and counts of objects, as JSON.
            psf: A page on the point spread function.
        """
        given = dict(locals())
        settings = chosen(given, DECONVOLUTION)
        fetched = cpu.place(fetch_model(source=model, digest=model_digest))
        function = point_spread(cpu, optics_of(given))
        made = cpu.place(
            simulate(
                psf=function.outputs["psf"],
                **chosen(given, PHANTOM, kind="objects", volumes="simulations"),
            )
        )
        images, psf = made.outputs["images"], function.outputs["psf"]

        def labels_of(images: Any) -> Any:
            return segment(
                cpu,
                gpu,
                predict_on_gpu,
                images=images,
                model=fetched.outputs["model"],
                diameter="",
                compartment="",
                method=method,
                parameters=parameters,
                network={},
                on_bad_image="fail",
            ).labels

        plain = restore(cpu, images, psf, {**settings, "total_variation": 0.0})
        restored = restore(cpu, images, psf, settings)
        shown = restored.show(
            cpu,
            plain=plain.restored,
            objects=made.outputs["objects"],
            truth=made.outputs["truth"],
            labels=labels_of(restored.restored),
            labels_before=labels_of(images),
            labels_plain=labels_of(plain.restored),
        )
        return Outputs(
            restorations=shown.outputs["pages"],
            numbers=shown.outputs["numbers"],
            psf=function.outputs["html"],
        )

    return simulated_restoration
