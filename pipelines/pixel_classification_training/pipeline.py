"""`pixel_classification_training`: images and scribbles in, a pixel classifier and its card out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.tiff_to_npz.component import tiff_to_npz
from components.train_pixel_classifier.component import train_pixel_classifier
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

NEEDS_TRUTH = True
#: What make calls the label images.
TRUTH_SETTING = "SCRIBBLES"

OUTPUTS = (
    OutputFile("model", "", "model"),
    OutputFile("metrics", "", "metrics.json"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    model: dsl.Model
    metrics: dsl.Metrics


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu = hardware["cpu"]

    @dsl.pipeline(name="pixel-classification-training")
    @described
    def pixel_classification_training(
        items: list[dict[str, str]],
        channels: str = "",
        z: str = "",
        z_step: float = 0.0,
        name: str = "my-pixel-classifier",
        version: str = "1",
        description: str = "",
        licence: str = "",
        classes: str = "",
        features: str = "gaussian,gradient,laplacian,hessian",
        sigmas: str = "0.7,1,1.6,3.5,5,10",
        trees: int = 0,
        depth: int = 0,
        seed: int = 0,
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Teach a pixel classifier by scribbles, and measure it on scribbles held out.

        Args:
            items: Images, each with `image`, `truth` (its scribbles), `name` and digests.
            channels: Channels to learn from, by name or 0-based index.
            z: Plane of a stack, 0-based; `all` teaches a classifier of volumes; empty where there
                is only one.
            licence: What its card says of its licence.
            classes: Names of the classes in the order of their values; `background` is no object.
            features: Kinds of features, of `gaussian`, `gradient`, `laplacian`, `hessian` and
                `structure`.
            sigmas: Scales of the features in pixels.
            trees: How many trees; 0 chooses by accuracy out of bag against speed.
            depth: How deep trees may be; 0 chooses so too.

        Returns:
            model: The model's folder, the classifier and its card.
            metrics: Accuracy out of bag and on scribbles held out, and what was tried.
        """
        converted = cpu.place(
            tiff_to_npz(
                items=items,
                channels=channels,
                z=z,
                z_step=z_step,
                truth_kind="labels",
                on_bad_image=on_bad_image,
            )
        )
        trained = cpu.place(
            train_pixel_classifier(
                images=converted.outputs["images"],
                scribbles=converted.outputs["truth"],
                name=name,
                version=version,
                description=description,
                licence=licence,
                classes=classes,
                features=features,
                sigmas=sigmas,
                trees=trees,
                depth=depth,
                seed=seed,
                on_bad_image=on_bad_image,
            )
        )
        return Outputs(model=trained.outputs["model"], metrics=trained.outputs["metrics"])

    return pixel_classification_training
