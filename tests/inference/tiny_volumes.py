"""A network that sees volumes, of weights set by hand: it finds balls of one size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Preprocessing, Tiling
from cellmill.segmentation.stardist.rays import golden_spiral

#: Rays, how many times fewer voxels a ball has along Z, and voxels a value.
RAYS, ANISOTROPY, STRIDE = 24, 3.2, 2
#: Voxels that the network reads around each, along Z and within planes.
REACH = (2, 6)


class BallFinder(tf.Module):
    """Two means, then a probability; and rays as long as those of a ball of the radius."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        rays = golden_spiral(RAYS, (ANISOTROPY, 1.0, 1.0)).vertices
        lengths = radius / np.linalg.norm(rays * (ANISOTROPY, 1, 1), axis=1)
        self.mean = tf.Variable(np.full((3, 7, 7, 1, 1), 1 / 147, np.float32))
        self.lengths = tf.Variable(lengths.astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, None, 1), tf.float32, "image")])
    def serve(self, image):
        """Give the heads by their names."""
        x = tf.nn.conv3d(image, self.mean, (1,) * 5, "SAME")
        x = tf.nn.conv3d(x, self.mean, (1, 1, STRIDE, STRIDE, 1), "SAME")
        distances = tf.ones_like(x) * self.lengths
        return {"probability": tf.sigmoid(12 * (x - 0.5)), "distances": distances}


def ball_card(tile=(16, 64, 64)) -> ModelCard:
    heads = (
        Head("probability", "nuclear", "pixelwise", 1, STRIDE, "cropped"),
        Head("distances", "nuclear", "ray_distances", RAYS, STRIDE, "cropped"),
    )
    found = {
        "method": "stardist",
        "probability_head": "probability",
        "distances_head": "distances",
        "nms_threshold": 0.2,
        "anisotropy_z": ANISOTROPY,
        "border": 1,
    }
    return ModelCard(
        name="balls",
        version="1",
        input=ModelInput((InputChannel("nuclear"),), tile=tile),
        heads=heads,
        postprocessing={"nuclear": found},
        default_compartment="nuclear",
        preprocessing=Preprocessing("percentile"),
        tiling=Tiling("reflect", 0.25, STRIDE),
    )


def save_ball_finder(folder: Path, radius: float, **card) -> ModelCard:
    """Save the network and its card; radius in voxels of a plane."""
    module = BallFinder(radius)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    made = replace(ball_card(**card))
    made.save(folder)
    return made
