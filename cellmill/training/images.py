"""Images with their truth, as a network is taught by them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cellmill.training.network import STRIDE


@dataclass(frozen=True)
class TrainingImage:
    """An image with its truth.

    Args:
        name: for messages.
        image: `(Y, X, C)`, or `(Z, Y, X, C)` of a volume, float32, normalised as the card will say.
        labels: `(Y, X)` int32: objects, 0 is background, or `(Y, X, K)` for K compartments,
            or `(Z, Y, X)` of a volume; or
            of classes of pixels their places from 1 on, 0 is not labelled.
        hard_background: `(Y, X)` integer, non-zero on what looks like an object and is none; or
            `(Y, X, K)`.
        mpp: microns per pixel `(y, x)` or `(z, y, x)`; `None` if unknown.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    hard_background: np.ndarray | None = None
    mpp: tuple[float, ...] | None = None


def whole_image(image: TrainingImage) -> TrainingImage:
    """The image cut to multiples of `STRIDE`, or mirrored up to one if it is smaller."""
    y, x = image.labels.shape[:2]
    if min(y, x) < STRIDE:
        pad = [(0, max(STRIDE - y, 0)), (0, max(STRIDE - x, 0))]
        labels = np.pad(image.labels, [*pad, (0, 0)][: image.labels.ndim])
        picture = np.pad(image.image, [*pad, (0, 0)], mode="symmetric")
        return whole_image(TrainingImage(image.name, picture, labels))
    y, x = y // STRIDE * STRIDE, x // STRIDE * STRIDE
    hard = image.hard_background
    return replace(
        image,
        image=image.image[:y, :x],
        labels=image.labels[:y, :x],
        hard_background=None if hard is None else hard[:y, :x],
    )
