"""What a star-convex network is taught of objects: how far inside they are, and how far they go.

The loss is that of Schmidt et al., "Cell Detection with Star-Convex Polygons" (MICCAI 2018): cross
entropy of the probability, and the error of the distances where objects are, by probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.training.augmentation import Augmentation
from cellmill.training.images import TrainingImage, whole_image
from cellmill.training.instances import Pictured, pictured, varied_crop
from cellmill.training.network import STAR_STRIDE
from cellmill.training.objective import Taught
from cellmill.training.star_targets import centre_probability, edge_distances
from cellmill.training.targets import pixel_weights

_RAY_WEIGHT, _BACKGROUND_RAYS = 0.2, 1e-4
"""Of the error of distances beside that of the probability, and of distances where no object is."""


@dataclass(frozen=True)
class StarObjective:
    """Probabilities and weights, `(N, Y / 2, X / 2, K)`, and distances `(N, Y / 2, X / 2, K, R)`.

    Args:
        rays: R, along which the distance to an object's edge is taught.
        needed: what teaches something.
    """

    rays: int
    needed: str = "objects"

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop of an image and what its objects teach."""
        return self._taught(varied_crop(image, size, random, augmentation))

    def whole(self, image: TrainingImage) -> Taught:
        """An image as it is, and what its objects teach."""
        return self._taught(pictured(whole_image(image)))

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """Cross entropy and error of distances, added up over compartments."""
        tf = extras.load("tensorflow", "training")
        losses = []
        for k, (predicted, lengths) in enumerate(zip(heads[::2], heads[1::2], strict=True)):
            probability, distances, weights = (each[:, :, :, k] for each in taught)
            found = tf.clip_by_value(predicted[..., 0], 1e-6, 1 - 1e-6)
            entropy = -probability * tf.math.log(found) - (1 - probability) * tf.math.log(1 - found)
            error = tf.reduce_mean(tf.abs(lengths - distances), -1)
            inside = tf.reduce_sum(probability * error) / (tf.reduce_sum(probability) + 1)
            outside = tf.where(probability > 0, 0.0, tf.reduce_mean(tf.abs(lengths), -1))
            losses += [
                tf.reduce_mean(weights * entropy),
                _RAY_WEIGHT * inside,
                _BACKGROUND_RAYS * tf.reduce_mean(outside),
            ]
        return tf.add_n(losses)

    def _taught(self, given: Pictured) -> Taught:
        step = slice(None, None, STAR_STRIDE)
        planes, hard = given.planes, given.hard
        weights = [pixel_weights(p, h)[step, step] for p, h in zip(planes, hard, strict=True)]
        return (
            given.picture,
            np.stack([centre_probability(plane, STAR_STRIDE) for plane in planes], 2),
            np.stack([edge_distances(plane, self.rays, STAR_STRIDE) for plane in planes], 2),
            np.stack(weights, 2),
        )
