"""What a network is taught of objects: how near their centres are, and classes of their pixels.

The loss is that of Greenwald et al. 2022: squared error of the inner distance plus weighted cross
entropy of the pixel classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.training.augmentation import (
    Augmentation,
    add_cytoplasm,
    random_crop,
    vary_objects,
    vary_picture,
)
from cellmill.training.crowding import crowd
from cellmill.training.images import TrainingImage, whole_image
from cellmill.training.objective import Taught
from cellmill.training.targets import inner_distance, pixel_classes, pixel_weights

CLASS_WEIGHTS = (2.0, 1.0, 1.0)
"""Of edge, interior and background in the cross entropy: edges are few."""

DISTANCE_WEIGHT = 10.0
"""Brings the squared error to the size of the cross entropy."""

_OBJECTS_VARIED = 0.6
"""Part of the crops in which single objects are made dimmer or brighter."""


@dataclass(frozen=True)
class InstanceObjective:
    """Inner distance, pixel classes (uint8) and weights, `(N, Y, X, K)` for K compartments."""

    needed: str = "objects"

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop of an image and what its objects teach."""
        return _taught(varied_crop(image, size, random, augmentation))

    def whole(self, image: TrainingImage) -> Taught:
        """An image as it is, and what its objects teach."""
        return _taught(pictured(whole_image(image)))

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """Squared error and weighted cross entropy, added up over compartments."""
        tf = extras.load("tensorflow", "training")
        distance, classes, weights = taught
        class_weights = tf.constant(CLASS_WEIGHTS, tf.float32)
        losses = []
        for k, (predicted, probabilities) in enumerate(zip(heads[::2], heads[1::2], strict=True)):
            squared = tf.square(predicted[..., 0] - distance[..., k])
            truth = tf.one_hot(classes[..., k], len(CLASS_WEIGHTS))
            entropy = -tf.reduce_sum(truth * class_weights * tf.math.log(probabilities + 1e-6), -1)
            loss = tf.reduce_mean(weights[..., k] * (DISTANCE_WEIGHT * squared + entropy))
            losses.append(loss)
        return tf.add_n(losses)


INSTANCES = InstanceObjective()


@dataclass(frozen=True)
class Pictured:
    """A picture and its label images.

    Args:
        picture: `(Y, X, C)` float32.
        planes: `(Y, X)` of each compartment.
        hard: of each what looks like its objects and is none; None where nothing is known.
    """

    picture: np.ndarray
    planes: list[np.ndarray]
    hard: list[np.ndarray | None]

    @classmethod
    def of(cls, picture: np.ndarray, labels: np.ndarray, hard: Sequence[np.ndarray]) -> Pictured:
        """One plane of `hard` goes for all compartments."""
        planes = _planes(labels)
        one = [hard[0] if hard else None] * len(planes)
        return cls(picture.astype(np.float32), planes, [*hard] if len(hard) == len(planes) else one)


def pictured(image: TrainingImage) -> Pictured:
    """An image as it is."""
    return Pictured.of(image.image, image.labels, _planes(image.hard_background))


def varied_crop(
    image: TrainingImage, size: int, random: np.random.Generator, augmentation: Augmentation
) -> Pictured:
    """Draw a crop `(size, size)` of an image, its place, objects and picture varied."""
    truth, hard = _planes(image.labels), _planes(image.hard_background)
    picture, cut = random_crop(image.image, truth + hard, size, random, augmentation)
    labels, others = np.stack(cut[: len(truth)], -1), cut[len(truth) :]
    if random.random() < augmentation.crowding:
        picture, labels = crowd(picture, labels, random, condensed=augmentation.condensed)
    if random.random() < _OBJECTS_VARIED:
        picture = vary_objects(picture, labels[..., 0], random, augmentation)
    if augmentation.cytoplasm and random.random() < augmentation.cytoplasm:
        picture = add_cytoplasm(picture, labels[..., 0], random, augmentation)
    return Pictured.of(vary_picture(picture, random, augmentation), labels, others)


def _planes(labels: np.ndarray | None) -> list[np.ndarray]:
    """The label images of an array `(Y, X)` or `(Y, X, K)`, `(Y, X)` each; none of None."""
    if labels is None:
        return []
    return [labels] if labels.ndim == 2 else list(np.moveaxis(labels, -1, 0))


def _taught(given: Pictured) -> Taught:
    """A picture and what its labels teach."""
    planes = given.planes
    weights = [pixel_weights(p, other) for p, other in zip(planes, given.hard, strict=True)]
    return (
        given.picture,
        np.stack([inner_distance(plane) for plane in planes], -1),
        np.stack([pixel_classes(plane) for plane in planes], -1),
        np.stack(weights, -1),
    )
