"""How large the objects are that a network is trained on: what its card says of scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cellmill.labels.kinds import Compartment
from cellmill.labels.objects import object_diameters
from cellmill.training.images import TrainingImage


def trained_sizes(
    images: Iterable[TrainingImage], compartments: Sequence[Compartment]
) -> dict[str, Any]:
    """The median diameter of each kind of object, as the card's `input` has it.

    The diameter is that of a circle of the object's area. Objects that the image's border cuts do
    not count, unless there are no others.

    Args:
        images: with labels `(Y, X)`, or `(Y, X, K)` for K compartments.
        compartments: in the order of the labels' planes.

    Returns:
        `object_diameter` in pixels and `object_diameter_um` in microns, of the images whose pixel
        size is known; each by compartment, without those of which there are none.
    """
    found: dict[str, dict[Compartment, list[np.ndarray]]] = {"px": {}, "um": {}}
    for image in images:
        labels = image.labels if image.labels.ndim == 3 else image.labels[..., np.newaxis]
        for k, kind in enumerate(compartments):
            diameters = object_diameters(labels[..., k])
            found["px"].setdefault(kind, []).append(diameters)
            if image.mpp is not None:
                microns = diameters * math.sqrt(math.prod(image.mpp))
                found["um"].setdefault(kind, []).append(microns)
    return {
        "object_diameter": _medians(found["px"], 1),
        "object_diameter_um": _medians(found["um"], 2),
    }


def _medians(
    diameters: dict[Compartment, list[np.ndarray]], digits: int
) -> dict[Compartment, float]:
    pooled = {kind: np.concatenate(each) for kind, each in diameters.items()}
    return {
        kind: round(float(np.median(each)), digits) for kind, each in pooled.items() if len(each)
    }
