"""`tuning`: images, label images and a model in, the model with its best post-processing out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.predict.component import predict
from components.preprocess.component import preprocess
from components.tiff_to_npz.component import tiff_to_npz
from components.tune_postprocessing.component import tune_postprocessing
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

NEEDS_TRUTH = True

OUTPUTS = (
    OutputFile("model", "", "model"),
    OutputFile("results", "", "tuning.json"),
    OutputFile("surface", "", "surface.csv"),
    OutputFile("html", "", "tuning.html"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    model: dsl.Model
    results: dsl.Metrics
    surface: dsl.Dataset
    html: dsl.HTML


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    predict_on_gpu = gpu.use(predict)

    @dsl.pipeline(name="tuning")
    @described
    def tuning(
        batches: list[list[dict[str, str]]],
        model: str = "",
        model_digest: str = "",
        channels: str = "",
        mpp: float = 0.0,
        truth_kind: str = "",
        batch_size: int = 8,
        precision: str = "float32",
        compartment: str = "",
        objective: str = "ap_50_90",
        image_groups: str = "",
        method: str = "",
        parameters: dict = {},
        axes: dict = {},
        refinements: int = 2,
        memory_mib: int = 4096,
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Find the best post-processing parameters of a model on images with truth.

        Args:
            model: Model as a path, a URI or a DeepCell name; empty for the one that ships.
            channels: Channels to segment, by name or 0-based index, in the model's order.
            compartment: `nuclear` or `whole-cell`; empty for the model's own.
            objective: What is made as great as possible: `ap_50_90`, `mean_ap`, `ap_50`, `ap_70`,
                `f1_50` or `panoptic_quality`.
            image_groups: Patterns of image names, one a series, with commas between.
            method: How objects are found; empty for the card's method.
            parameters: Parameters of the method in place of the card's, by name, a JSON object.
            axes: Values to try, by name of the parameter, a JSON object; of what is not named the
                method tries some around the card's.
            refinements: How often values halfway between the best and its neighbours are tried.
            memory_mib: Memory to work in, in MiB; an image that needs more is refused.

        Returns:
            model: The model, its card with the best parameters.
            results: Best and default parameters and their scores, as JSON.
            surface: Scores at every combination that was tried, as CSV.
            html: A page that shows the surface.
        """
        fetched = cpu.place(fetch_model(source=model, digest=model_digest, trust_model=trust_model))
        with dsl.ParallelFor(batches, name="batches") as items:
            converted = cpu.place(
                tiff_to_npz(
                    items=items,
                    channels=channels,
                    mpp=mpp,
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
            predicted = gpu.place(
                predict_on_gpu(
                    preprocessed=prepared.outputs["preprocessed"],
                    model=fetched.outputs["model"],
                    method=method,
                    parameters=parameters,
                    batch_size=batch_size,
                    precision=precision,
                    trust_model=trust_model,
                    on_bad_image=on_bad_image,
                )
            )
        tuned = cpu.place(
            tune_postprocessing(
                predictions=dsl.Collected(predicted.outputs["predictions"]),
                truth=dsl.Collected(converted.outputs["truth"]),
                base=fetched.outputs["model"],
                compartment=compartment,
                objective=objective,
                image_groups=image_groups,
                method=method,
                parameters=parameters,
                axes=axes,
                refinements=refinements,
                memory_mib=memory_mib,
                on_bad_image=on_bad_image,
            )
        )
        return Outputs(
            model=tuned.outputs["model"],
            results=tuned.outputs["results"],
            surface=tuned.outputs["surface"],
            html=tuned.outputs["html"],
        )

    return tuning
