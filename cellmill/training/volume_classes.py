"""What a network of volumes is taught of classes of voxels, from label volumes that may be sparse.

Weights, cross entropy and Dice are those of planes (`cellmill.training.classes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.training.augmentation import Augmentation, random_warp, vary_light
from cellmill.training.classes import ClassObjective, near
from cellmill.training.images import TrainingImage
from cellmill.training.objective import Taught
from cellmill.training.volume_network import VolumeShape
from cellmill.training.volumes import crop_depth, crop_planes, middle_of

#: Part of the crops that look for planes with classes other than the commonest; within planes
#: `random_warp` looks as often.
_SOUGHT = 0.75


@dataclass(frozen=True)
class VolumeClassObjective:
    """The place of each voxel's class from 1 on, `(N, Z, Y, X)` int32; 0 is not labelled.

    Args:
        classes: weights, and which class is the commonest.
        spacing: of voxels along Z, Y and X, in pixels of a plane.
        shape: of the network's layers.
        needed: for messages.
    """

    classes: ClassObjective
    spacing: tuple[float, ...]
    shape: VolumeShape
    needed: str = "labelled voxels"

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop of a volume, as for objects, and the classes of its voxels."""
        depth, count = crop_depth(size, self.spacing, self.shape), len(image.labels)
        rare = self.classes.rare(image.labels)
        there = np.flatnonzero(rare.any((1, 2)))
        first = int(random.integers(max(count - depth, 0) + 1))
        if len(there) and random.random() < _SOUGHT:
            first = int(random.choice(there)) - int(random.integers(depth))
            first = min(max(first, 0), max(count - depth, 0))
        planes = crop_planes(first, depth, count, random)
        warp = random_warp(near(rare[planes].any(0)), size, random, augmentation)
        picture = np.stack([warp.picture(image.image[z]) for z in planes])
        labels = np.stack([warp.labels(image.labels[z]) for z in planes])
        return vary_light(picture, random, augmentation).astype(np.float32), labels

    def whole(self, image: TrainingImage) -> Taught:
        """The middle of a volume as it is, and the classes of its voxels."""
        seen = middle_of(image, self.shape.strides)
        return seen.image.astype(np.float32), seen.labels.astype(np.int32)

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """Weighted cross entropy and Dice, of labelled voxels; 0 where there are none."""
        return self.classes.loss(heads, *taught)
