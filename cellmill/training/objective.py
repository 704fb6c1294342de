"""What a network is taught, as the fit knows it: crops, targets and a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cellmill.training.augmentation import Augmentation
from cellmill.training.images import TrainingImage

Taught = tuple[np.ndarray, ...]
"""Pictures `(N, Y, X, C)` or `(N, Z, Y, X, C)` float32, or one without N, and
whatever the loss compares heads with."""


class Objective(Protocol):
    """What a network is taught."""

    @property
    def needed(self) -> str:
        """What images without which teach nothing, for messages."""
        ...

    def crop(
        self,
        image: TrainingImage,
        size: int,
        random: np.random.Generator,
        augmentation: Augmentation,
    ) -> Taught:
        """Draw a crop `(size, size)` of an image, varied, and what it teaches."""
        ...

    def whole(self, image: TrainingImage) -> Taught:
        """A whole image as it is, cut to sides that the network pools, and what it teaches."""
        ...

    def loss(self, heads: Sequence[Any], *taught: Any) -> Any:
        """The loss of a batch, a TensorFlow scalar; `taught` goes without the pictures."""
        ...
