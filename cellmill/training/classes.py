"""What a network is taught of classes of pixels, from label images that may be sparse.

The loss is cross entropy, weighted by class, plus one minus the soft Dice coefficient of the batch,
its mean over the classes that are labelled there (Milletari et al. 2016, without the squares;
Isensee et al. 2021). Pixels without a label carry none of either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.training.augmentation import Augmentation, random_crop, vary_picture
from cellmill.training.images import TrainingImage, whole_image
from cellmill.training.objective import Taught

_REACH = 9
"""Side in pixels of the square in which a pixel of a rare class draws crops to itself."""


@dataclass(frozen=True)
class ClassObjective:
    """The place of each pixel's class from 1 on, `(N, Y, X)` int32; 0 is not labelled.

    The loss takes volumes `(N, Z, Y, X)` as well.

    Args:
        weights: of the classes in the cross entropy, in their order.
        commonest: place of the class that most pixels have, from 0 on: crops look for others.
        needed: for messages.
    """

    weights: tuple[float, ...]
    commonest: int = 0
    needed: str = "labelled pixels"

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop of an image and the classes of its pixels."""
        places = [near(self.rare(image.labels)), image.labels]
        picture, (_, labels) = random_crop(image.image, places, size, random, augmentation)
        return vary_picture(picture, random, augmentation), labels

    def rare(self, labels: np.ndarray) -> np.ndarray:
        """Where classes other than the commonest are labelled, bool."""
        found: np.ndarray = (labels > 0) & (labels != self.commonest + 1)
        return found

    def whole(self, image: TrainingImage) -> Taught:
        """An image as it is, and the classes of its pixels."""
        seen = whole_image(image)
        return seen.image.astype(np.float32), seen.labels.astype(np.int32)

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """Weighted cross entropy and Dice, of labelled pixels; 0 where there are none."""
        tf = extras.load("tensorflow", "training")
        (probabilities,), (places,) = heads, taught
        truth = tf.one_hot(places - 1, len(self.weights))
        known = tf.reduce_sum(truth, -1, keepdims=True)
        weighted = truth * tf.constant(self.weights, tf.float32)
        surprise = -tf.reduce_sum(weighted * tf.math.log(probabilities + 1e-6))
        entropy = tf.math.divide_no_nan(surprise, tf.reduce_sum(weighted))
        pixels = [*range(len(places.shape))]
        both = tf.reduce_sum(truth * probabilities, pixels)
        labelled = tf.reduce_sum(truth, pixels)
        either = tf.reduce_sum(known * probabilities, pixels) + labelled
        there = tf.cast(labelled > 0, tf.float32)
        missing = there * (1 - (2 * both + 1) / (either + 1))
        return entropy + tf.math.divide_no_nan(tf.reduce_sum(missing), tf.reduce_sum(there))


def near(places: np.ndarray) -> np.ndarray:
    """The surroundings of places `(Y, X)`, uint8: where crops are drawn to."""
    found: np.ndarray = cv2.dilate(places.astype(np.uint8), np.ones((_REACH, _REACH), np.uint8))
    return found


def pixel_counts(images: Sequence[TrainingImage], classes: int) -> list[int]:
    """How many pixels are labelled of each class, of all images together."""
    counts = np.zeros(classes + 1, np.int64)
    for image in images:
        counts += np.bincount(image.labels.ravel(), minlength=classes + 1)
    return [int(count) for count in counts[1:]]


def class_objective(counts: Sequence[int], names: Sequence[str], weights: str) -> ClassObjective:
    """What classes are taught by, given how many pixels of each there are.

    Args:
        counts: of labelled pixels of each class, in the training images.
        names: of the classes.
        weights: of the classes in the loss, with commas between; empty: each the root of how rare
            it is, such that a labelled pixel counts 1 on average.

    Raises:
        BadInput: a class has no pixels, or weights are not one number above 0 a class.
    """
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        raise BadInput(
            "training images",
            expected="labelled pixels of every class",
            found=f"none of {', '.join(missing)}",
        )
    given = _numbers(weights, names) if weights.strip() else _balanced(counts)
    return ClassObjective(tuple(given), int(np.argmax(counts)))


def _balanced(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    rarity = [math.sqrt(total / count) for count in counts]
    mean = sum(each * count for each, count in zip(rarity, counts, strict=True)) / total
    return [round(each / mean, 4) for each in rarity]


def _numbers(text: str, names: Sequence[str]) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != len(names) or not all(0 < each < math.inf for each in found):
        expected = f"{len(names)} numbers above 0, for {', '.join(names)}"
        raise BadInput("class_weights", expected=expected, found=repr(text))
    return found
