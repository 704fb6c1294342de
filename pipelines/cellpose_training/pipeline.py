"""`cellpose_training`: images and label images in, a network of Cellpose 3 with its card out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.tiff_to_npz.component import tiff_to_npz
from components.train_cellpose.component import train_cellpose
from pipelines.described import described
from pipelines.hardware import PORTABLE, Hardware
from pipelines.outputs import OutputFile

NEEDS_TRUTH = True
#: Its base is Cellpose's own file.
TAKES_WEIGHTS = True

OUTPUTS = (
    OutputFile("model", "", "model"),
    OutputFile("weights", "", "cellpose_weights"),
    OutputFile("metrics", "", "metrics.json"),
)


class Outputs(NamedTuple):
    """What the pipeline gives."""

    model: dsl.Model
    weights: dsl.Artifact
    metrics: dsl.Metrics


def build(hardware: Hardware = PORTABLE) -> Any:
    """Return the pipeline, its tasks placed on some hardware."""
    cpu = hardware["cpu"]

    @dsl.pipeline(name="cellpose-training")
    @described
    def cellpose_training(
        items: list[dict[str, str]],
        base: str = "",
        base_digest: str = "",
        channels: str = "",
        mpp: float = 0.0,
        truth_kind: str = "",
        name: str = "my-model",
        version: str = "1",
        description: str = "",
        licence: str = "",
        compartment: str = "nuclear",
        validation: str = "",
        validation_fraction: float = 0.15,
        steps: int = 300,
        learning_rate: float = 0.0,
        seed: int = 0,
        on_bad_image: str = "fail",
    ) -> Outputs:
        """Train a network of Cellpose 3 on images and label images, measured on images held out.

        Args:
            base: Weights to go on from (fine-tuning): `cellpose:cyto3` and the like, or the path or
                URI of Cellpose's own file of weights. Empty trains from nothing.
            base_digest: Digest of that file, so that changed bytes miss the cache.
            channels: Channels to train on, by name or 0-based index: one, or two, the second of
                nuclei.
            mpp: Pixel size in microns, where the files do not say; 0 for unknown.
            truth_kind: What label images are: `labels`, `mask`, `colours` or `planes`; empty for
                what each says of itself.
            compartment: What the label images show: `nuclear`, `whole-cell` or another kind.
            steps: Batches to train on.
            learning_rate: Of AdamW; 0 is 0.005, or from a base 0.0005.
            seed: Of what is drawn for validation, of the order of images and of a new network.

        Returns:
            model: The model's folder, ONNX network and card.
            weights: The same network as Cellpose's own file of weights.
            metrics: Accuracy on the images held out, of the base too, and the training's curve.
        """
        converted = cpu.place(
            tiff_to_npz(
                items=items,
                channels=channels,
                mpp=mpp,
                truth_kind=truth_kind,
                on_bad_image=on_bad_image,
            )
        )
        trained = cpu.place(
            train_cellpose(
                images=converted.outputs["images"],
                labels=converted.outputs["truth"],
                base=base,
                base_digest=base_digest,
                name=name,
                version=version,
                description=description,
                licence=licence,
                compartment=compartment,
                validation=validation,
                validation_fraction=validation_fraction,
                steps=steps,
                learning_rate=learning_rate,
                seed=seed,
                on_bad_image=on_bad_image,
            )
        )
        return Outputs(*(trained.outputs[name] for name in Outputs._fields))

    return cellpose_training
