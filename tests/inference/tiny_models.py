"""SavedModels of a few fixed weights, made on the fly, and their cards."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from cellmill.models.card import (
    Head,
    InputChannel,
    ModelCard,
    ModelInput,
    PostprocessingParameters,
    Preprocessing,
    Tiling,
)


def card(
    channels=("nuclear",),
    tile=(32, 32),
    heads=(("distance", 1), ("pixelwise", 3)),
    method="none",
    mpp=0.5,
) -> ModelCard:
    return ModelCard(
        name="tiny",
        version="1",
        input=ModelInput(tuple(InputChannel(c) for c in channels), mpp, tile),
        heads=tuple(Head(name, "nuclear", "pixelwise", count) for name, count in heads),
        postprocessing={"nuclear": PostprocessingParameters(heads[0][0], heads[-1][0])},
        default_compartment="nuclear",
        preprocessing=Preprocessing(method=method),
        tiling=Tiling("constant", 0.25),
    )


def weights(channels: int, outputs: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (3, 3, channels, outputs)).astype(np.float32)


class TwoHeads(tf.Module):
    """Three convolutions: a hidden one, and one per head (1 and 3 channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = tf.Variable(weights(channels, 8, 0))
        self.first = tf.Variable(weights(8, 1, 1))
        self.second = tf.Variable(weights(8, 3, 2))

    def heads(self, x):
        hidden = tf.nn.relu(tf.nn.conv2d(x, self.hidden, 1, "SAME") + 0.1)
        return (
            tf.nn.relu(tf.nn.conv2d(hidden, self.first, 1, "SAME")),
            tf.nn.softmax(tf.nn.conv2d(hidden, self.second, 1, "SAME")),
        )


def save(folder: Path, channels=1, tile=(32, 32), names=("distance", "pixelwise"), batch=None):
    """Save `TwoHeads` with outputs of these names; returns the module, to compare with."""
    module = TwoHeads(channels)

    @tf.function(input_signature=[tf.TensorSpec((batch, *tile, channels), tf.float32, "image")])
    def serve(image):
        return dict(zip(names, module.heads(image), strict=True))

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return module


def save_model(folder: Path, channels=1) -> ModelCard:
    """A whole model folder: SavedModel and card."""
    save(folder, channels)
    names = ("nuclear", "membrane", "third")[:channels]
    made = card(names)
    made.save(folder)
    return made
