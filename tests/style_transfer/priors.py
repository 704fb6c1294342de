"""A frozen network to look through, of two convolutions that were not trained."""

import numpy as np

from cellmill import extras
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.models.savedmodel import write_savedmodel

LEVELS = (110.0, 40.0)
CARD = ModelCard(
    name="knows-y",
    version="1",
    input=ModelInput((InputChannel("grey"),), tile=(64, 64)),
    heads=(Head("coarse", "", "image", channels=2, stride=2), Head("inner", "", "image", margin=4)),
    tiling=Tiling(alignment=16),
    preprocessing=Preprocessing("percentile"),
    postprocessing={},
    default_compartment="",
)


def grey_planes(side=56):
    """Three planes of noise of those levels, uint8."""
    grey = np.random.default_rng(0).normal(LEVELS[0], LEVELS[1], (3, side, side))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def write_prior(folder):
    """Write a network of two heads of one convolution each, one coarse, one without a margin."""
    tf, keras = extras.load("tensorflow", "a test"), extras.load("keras", "a test")
    random = np.random.default_rng(1)
    coarse, inner = (
        keras.Variable(random.normal(0, 1, shape).astype(np.float32))
        for shape in ((2, 2, 1, 2), (9, 9, 1, 1))
    )

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")])
    def serve(image):
        return {
            "coarse": tf.nn.tanh(tf.nn.conv2d(image, coarse.value, 2, "VALID")),
            "inner": tf.nn.conv2d(image, inner.value, 1, "VALID"),
        }

    write_savedmodel(folder, serve, [coarse, inner])
    CARD.save(folder)
