"""What the network is taught: inner distance and pixel classes, from label images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from cellmill.labels.edges import inner_edges

EDGE, INTERIOR, BACKGROUND = 0, 1, 2
"""Channels of the pixelwise head, in Mesmer's order."""


def pixel_classes(labels: np.ndarray) -> np.ndarray:
    """The class of every pixel: `EDGE`, `INTERIOR` or `BACKGROUND`.

    Edges are one pixel wide and belong to their object (Greenwald et al. 2022, "pixelwise").

    Args:
        labels: `(Y, X)` integer, 0 is background.

    Returns:
        `(Y, X)` uint8.
    """
    classes = np.where(labels > 0, INTERIOR, BACKGROUND).astype(np.uint8)
    classes[inner_edges(labels)] = EDGE
    return classes


def inner_distance(
    labels: np.ndarray,
    alpha: float | Literal["auto"] = "auto",
    beta: float = 1.0,
    centre: Literal["object", "foreground"] = "object",
    spacing: Sequence[float] = (),
) -> np.ndarray:
    """How near a pixel is to its object's centre: `1 / (1 + αβd²)`, 0 outside objects.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integer, 0 is background.
        alpha: scale in 1/pixel²; `auto` is `1 / √area` of each object, of a volume `1 / ∛volume`.
        beta: another factor.
        centre: the centre is the mean of the object's pixels weighted by their distance to the
            edge: of their own object, or of the foreground as a whole. The latter is what the
            reference takes (found by running deepcell 0.12.10: equal to 3e-8); it draws the centres
            of touching objects towards each other, so it is not our default.
        spacing: of pixels along each axis, in the unit that distances are to have; empty is 1.

    Returns:
        float32 of the labels' shape, 1 at most.

    Source: Koyuncu et al., "DeepDistance" (Med. Image Anal. 2020), as used by Greenwald et al.
    (Nat. Biotechnol. 2022).
    """
    inside = labels > 0
    if not inside.any():
        return np.zeros(labels.shape, np.float32)
    ids, index = np.unique(labels[inside], return_inverse=True)
    steps = [*spacing] or [1.0] * labels.ndim
    if centre == "foreground":
        depth = ndimage.distance_transform_edt(inside, steps)[inside]
    else:
        # An edge pixel is one pixel from the outside, and so is every pixel from its own edge.
        depth = ndimage.distance_transform_edt(inside & ~inner_edges(labels), steps)[inside] + 1
    mass = np.bincount(index, depth)
    squared = np.zeros(len(index))
    for places, step in zip(np.nonzero(inside), steps, strict=True):
        middle = np.bincount(index, depth * places) / mass
        squared += ((places - middle[index]) * step) ** 2
    size = np.bincount(index) * math.prod(steps)
    auto = 1 / (np.sqrt(size) if labels.ndim == 2 else np.cbrt(size))
    scale = auto if alpha == "auto" else np.full(len(ids), float(alpha))
    distance = np.zeros(labels.shape, np.float32)
    distance[inside] = 1 / (1 + scale[index] * beta * squared)
    return distance


def soft_interior(labels: np.ndarray) -> np.ndarray:
    """Where objects are: 1 within, a half where one touches another, 0 outside.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integer, 0 is background.

    Returns:
        float32 of that shape.
    """
    found = (labels > 0).astype(np.float32)
    for axis in range(labels.ndim):
        along, marked = labels.swapaxes(0, axis), found.swapaxes(0, axis)
        seam = (along[1:] != along[:-1]) & (along[1:] > 0) & (along[:-1] > 0)
        marked[1:][seam] = 0.5
        marked[:-1][seam] = 0.5
    return found


def pixel_weights(
    labels: np.ndarray,
    hard_background: np.ndarray | None = None,
    *,
    seam_weight: float = 4.0,
    hard_weight: float = 4.0,
) -> np.ndarray:
    """How much each pixel counts in the loss.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integer, 0 is background.
        hard_background: integer of that shape, non-zero where something that looks like an object
            is none (micronuclei, debris); pixels of `labels` are never hard background.
        seam_weight: of background within two pixels (one plane) of two objects, and of edges
            between touching ones: the few pixels that decide whether objects are told apart.
        hard_weight: of hard background.

    Returns:
        float32 of the labels' shape, 1 where nothing is special.
    """
    weights = np.ones(labels.shape, np.float32)
    near = (3, 5, 5) if labels.ndim == 3 else 5
    greatest = ndimage.maximum_filter(labels, near)
    filled = np.where(labels > 0, labels, np.iinfo(labels.dtype).max)
    least = ndimage.minimum_filter(filled, near)
    seam = (least != greatest) & (greatest > 0) & (least < np.iinfo(labels.dtype).max)
    weights[seam] = seam_weight
    if hard_background is not None:
        weights[(hard_background > 0) & (labels == 0)] = hard_weight
    return weights
