"""`training`: images and label images in, a model with its card and accuracy out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model.component import fetch_model
from components.tiff_to_npz.component import tiff_to_npz
from components.train_segmenter.component import train_segmenter
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

NEEDS_TRUTH = True
#: What follows from a setting where nobody says otherwise: values of classes are kept as they are.
IMPLIED = {("task", "semantic"): {"truth_kind": "labels"}}
#: What is trained in another environment is a pipeline of its own.
INSTEAD = {("method", "cellpose"): "cellpose_training"}

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
    cpu, gpu = hardware["cpu"], hardware["gpu"]
    train_segmenter_on_gpu = gpu.use(train_segmenter)

    @dsl.pipeline(name="training")
    @described
    def training(
        items: list[dict[str, str]],
        hard_background: list[dict[str, str]],
        base: str = "",
        base_digest: str = "",
        channels: str = "",
        mpp: float = 0.0,
        z: str = "",
        z_step: float = 0.0,
        truth_kind: str = "",
        name: str = "my-model",
        version: str = "1",
        description: str = "",
        licence: str = "",
        task: str = "instances",
        method: str = "deep_watershed",
        rays: int = 32,
        compartment: str = "nuclear",
        classes: str = "",
        class_weights: str = "",
        zero: str = "unlabelled",
        validation: str = "",
        validation_fraction: float = 0.15,
        steps: int = 1000,
        learning_rate: float = 0.0,
        patience: int = 0,
        seed: int = 0,
        time_limit_minutes: float = 0.0,
        checkpoints: str = "",
        checkpoint_every: int = 100,
        on_bad_image: str = "fail",
        trust_model: bool = False,
    ) -> Outputs:
        """Train a segmenter on images and label images, and measure it on images held out.

        Args:
            hard_background: The same images; `truth` is what looks like a cell and is none.
            base: Model to go on from (fine-tuning), as a path, a URI or a name (`cellmill-nuclei`
                for the one that ships). Empty trains from nothing.
            base_digest: Digest of a base that is a file, so that changed bytes miss the cache.
            channels: Channels to train on, by name or 0-based index.
            mpp: Pixel size in microns, where the files do not say; 0 for unknown.
            z: Plane of a stack, 0-based; `all` trains a network of volumes; empty where there is
                only one.
            truth_kind: What label images are: `labels`, `mask`, `colours` or `planes`; empty for
                what each says of itself.
            task: What is taught: `instances`, objects told apart by their numbers; or `semantic`,
                the class of every pixel, of label images whose values are classes.
            method: How the model's objects will be found: `deep_watershed`, or `stardist` as
                star-convex polygons. `cellpose` runs the pipeline `cellpose_training`.
            rays: Of method `stardist`, along which the distance to an object's edge is taught.
            compartment: What the label images show: `nuclear`, `whole-cell`, or `both` where
                they have two planes: whole cells, nuclei.
            classes: Names of the classes of pixels in the order of their values; `background` is
                no object.
            class_weights: Of each class in the loss; empty balances them.
            zero: What 0 is in label images of classes: `unlabelled`, or `background`.
            steps: Batches to train on at most.
            learning_rate: The greatest learning rate; 0 is 0.003, or from a base 0.0003.
            patience: Stop after so many looks without a better one; 0 trains all steps.
            time_limit_minutes: Stop training after this time; 0 is no limit.
            checkpoints: Folder to keep a checkpoint in, from which a training that was killed goes
                on; empty keeps none.
            checkpoint_every: Steps between two checkpoints.

        Returns:
            model: The model's folder, SavedModel and card.
            metrics: Accuracy on the images held out, of the base too, and the training's curve.
        """
        read = {"channels": channels, "mpp": mpp, "z": z, "z_step": z_step}
        read["on_bad_image"] = on_bad_image
        converted = cpu.place(tiff_to_npz(items=items, truth_kind=truth_kind, **read))
        background = cpu.place(tiff_to_npz(items=hard_background, **read))
        background.set_display_name("tiff_to_npz: hard background")
        # Without a base this fetches the model that ships, which base_source then leaves aside:
        # an artifact that is there or not, as a parameter says, is more than kfp.local runs.
        fetched = cpu.place(fetch_model(source=base, digest=base_digest, trust_model=trust_model))
        fetched.set_display_name("fetch_model: base")
        trained = gpu.place(
            train_segmenter_on_gpu(
                images=converted.outputs["images"],
                labels=converted.outputs["truth"],
                hard_background=background.outputs["truth"],
                base=fetched.outputs["model"],
                trust_model=trust_model,
                base_source=base,
                name=name,
                version=version,
                description=description,
                licence=licence,
                task=task,
                method=method,
                rays=rays,
                compartment=compartment,
                classes=classes,
                class_weights=class_weights,
                zero=zero,
                validation=validation,
                validation_fraction=validation_fraction,
                steps=steps,
                learning_rate=learning_rate,
                patience=patience,
                seed=seed,
                time_limit_minutes=time_limit_minutes,
                checkpoints=checkpoints,
                checkpoint_every=checkpoint_every,
                on_bad_image=on_bad_image,
            )
        )
        return Outputs(model=trained.outputs["model"], metrics=trained.outputs["metrics"])

    return training
