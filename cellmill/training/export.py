"""A trained network as a SavedModel, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.inference.tensorflow_engine import open_savedmodel
from cellmill.models.card import ModelCard
from cellmill.models.savedmodel import write_savedmodel
from cellmill.pixel_classification.card import HEAD
from cellmill.training.network import build_class_network, build_network, build_star_network
from cellmill.training.volume_network import (
    VolumeShape,
    build_volume_class_network,
    build_volume_network,
)

if TYPE_CHECKING:
    import keras


def export_network(network: keras.Model, folder: Path) -> None:
    """Write the network as a SavedModel with a serving signature.

    The signature takes `image`, `(N, Y, X, C)` or `(N, Z, Y, X, C)` float32 with free
    sides, and gives one output per head, by the head's name.

    Args:
        network: as `build_network` or `build_class_network` makes it.
        folder: the model's folder.
    """
    tf = extras.load("tensorflow", "training")
    names = network.output_names

    @tf.function(
        input_signature=[tf.TensorSpec(network.input_shape, tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        heads = tf.nest.flatten(network(image, training=False))
        return dict(zip(names, heads, strict=True))

    write_savedmodel(folder, serve, network.weights)


def trainable_network(folder: Path, card: ModelCard) -> keras.Model:
    """The network of a model that `train_segmenter` made, ready to be trained further.

    Raises:
        BadInput: the model was not made by `train_segmenter`, or its weights cannot be read.
    """
    tf = extras.load("tensorflow", "training")
    made = card.training.get("network")
    kinds = [head.kind for head in card.heads]
    classes = [head.name for head in card.heads] == [HEAD] and kinds == ["pixelwise"]
    rays = int(made.get("rays", 0)) if isinstance(made, dict) else 0
    pair = ["pixelwise", "ray_distances"] if rays else ["inner_distance", "pixelwise"]
    taught = pair * len(card.compartments)
    if not isinstance(made, dict) or "widths" not in made or (kinds != taught and not classes):
        raise BadInput(
            f"base model '{card.name}'",
            expected="a model that train_segmenter made",
            found="a card that does not say how its network is built",
        )
    shape = (tuple(made["widths"]), tuple(made.get("gains", ())), made.get("bottom", 0))
    channels = len(card.input.channels)
    if card.input.sees_volumes and classes:
        own = VolumeShape.from_card(made)
        network = build_volume_class_network(channels, HEAD, card.heads[0].channels, own)
    elif card.input.sees_volumes:
        distance, interior = (head.name for head in card.heads)
        own = VolumeShape.from_card(made)
        network = build_volume_network(channels, (distance, interior), own)
    elif classes:
        network = build_class_network(channels, HEAD, card.heads[0].channels, *shape)
    elif rays:
        network = build_star_network(channels, [head.name for head in card.heads], rays, *shape)
    else:
        network = build_network(channels, [head.name for head in card.heads], *shape)
    try:
        stored = open_savedmodel(folder).weights
        network.set_weights([weight.numpy() for weight in stored])
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        text = str(error).splitlines()[0]
        raise BadInput(
            f"base model '{card.name}'", expected="weights of its network", found=text
        ) from error
    return network
