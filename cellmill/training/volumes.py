"""What a network of volumes is taught of objects: how near their centres are, and their interior.

The loss is squared error of the inner distance plus cross entropy of the interior, as of planes;
where two objects touch the interior is a half, so that a flood of it ends there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.arrays.indexing import reflected
from cellmill.training.augmentation import Augmentation, random_warp, vary_light
from cellmill.training.images import TrainingImage
from cellmill.training.instances import DISTANCE_WEIGHT
from cellmill.training.objective import Taught
from cellmill.training.targets import inner_distance, pixel_weights, soft_interior
from cellmill.training.volume_network import VolumeShape

#: Of a volume no more is looked at than the middle of these sides, Z, Y and X, while fitting.
_LOOKED_AT = (64, 256, 256)

VOLUME_AUGMENTATION = Augmentation(
    scale=(0.8, 1.25), gain=(0.5, 1.5), crowding=0, cytoplasm=0, condensed=0
)
"""Planes are zoomed less than images are: zoomed alone, they change the voxels' shape."""


@dataclass(frozen=True)
class VolumeObjective:
    """Inner distance, interior and weights, `(N, Z, Y, X)` float32 each.

    Args:
        spacing: of voxels along Z, Y and X, in pixels of a plane.
        shape: of the network's layers.
        needed: what teaches something.
    """

    spacing: tuple[float, ...]
    shape: VolumeShape
    needed: str = "objects"

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop at a random place, angle in the plane, zoom and handedness.

        It is `size` wide; beyond the volume's end it is mirrored.
        """
        depth, count = crop_depth(size, self.spacing, self.shape), len(image.labels)
        first = int(random.integers(max(count - depth, 0) + 1))
        planes = crop_planes(first, depth, count, random)
        warp = random_warp(image.labels[planes].max(0), size, random, augmentation)
        picture = np.stack([warp.picture(image.image[z]) for z in planes])
        labels = np.stack([warp.labels(image.labels[z]) for z in planes])
        hard = image.hard_background
        hard = None if hard is None else np.stack([warp.labels(hard[z]) for z in planes])
        return self._taught(vary_light(picture, random, augmentation), labels, hard)

    def whole(self, image: TrainingImage) -> Taught:
        """The middle of a volume as it is, and what it shows."""
        seen = middle_of(image, self.shape.strides)
        return self._taught(seen.image, seen.labels, seen.hard_background)

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """Squared error and cross entropy, weighted."""
        tf = extras.load("tensorflow", "training")
        distance, interior, weights = taught
        found = tf.clip_by_value(heads[1][..., 0], 1e-6, 1 - 1e-6)
        entropy = -interior * tf.math.log(found) - (1 - interior) * tf.math.log(1 - found)
        squared = tf.square(heads[0][..., 0] - distance)
        return tf.reduce_mean(weights * (DISTANCE_WEIGHT * squared + entropy))

    def _taught(self, picture: np.ndarray, labels: np.ndarray, hard: np.ndarray | None) -> Taught:
        return (
            picture.astype(np.float32),
            inner_distance(labels, spacing=self.spacing),
            soft_interior(labels),
            pixel_weights(labels, hard),
        )


def crop_depth(size: int, spacing: Sequence[float], shape: VolumeShape) -> int:
    """How many planes make a crop about as deep as it is wide."""
    step = shape.strides[0]
    return max(math.ceil(size / spacing[0] / step), 1) * step


def crop_planes(first: int, depth: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Planes of a crop, in either order; beyond the volume's end they are mirrored.

    Args:
        first: the first.
        depth: how many there are to be.
        count: how many the volume has.
        random: source of chance.
    """
    planes = reflected(np.arange(first, first + depth), count)
    return planes[::-1] if random.random() < 0.5 else planes


def middle_of(image: TrainingImage, strides: Sequence[int]) -> TrainingImage:
    """The middle of a volume, its sides multiples of strides; a small one gets zeros."""
    sides = image.labels.shape
    pads = [(0, max(step - side, 0)) for side, step in zip(sides, strides, strict=True)]
    padded = [side + pad[1] for side, pad in zip(sides, pads, strict=True)]
    kept = [
        min(side, most) // step * step
        for side, most, step in zip(padded, _LOOKED_AT, strides, strict=True)
    ]
    window = tuple(
        slice((side - own) // 2, (side - own) // 2 + own)
        for side, own in zip(padded, kept, strict=True)
    )
    hard = image.hard_background
    return replace(
        image,
        image=np.pad(image.image, [*pads, (0, 0)])[window],
        labels=np.pad(image.labels, pads)[window],
        hard_background=None if hard is None else np.pad(hard, pads)[window],
    )
