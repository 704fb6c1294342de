"""What the network is taught: inner distance and pixel classes, from label images."""

from __future__ import annotations

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
) -> np.ndarray:
    """How near a pixel is to its object's centre: `1 / (1 + αβd²)`, 0 outside objects.

    Args:
        labels: `(Y, X)` integer, 0 is background.
        alpha: scale in 1/pixel²; `auto` is `1 / √area` of each object.
        beta: another factor.
        centre: the centre is the mean of the object's pixels weighted by their distance to the
            edge: of their own object, or of the foreground as a whole. The latter is what the
            reference takes (found by running deepcell 0.12.10: equal to 3e-8); it draws the centres
            of touching objects towards each other, so it is not our default.

    Returns:
        `(Y, X)` float32, 1 at most.

    Source: Koyuncu et al., "DeepDistance" (Med. Image Anal. 2020), as used by Greenwald et al.
    (Nat. Biotechnol. 2022).
    """
    inside = labels > 0
    if not inside.any():
        return np.zeros(labels.shape, np.float32)
    ids, index = np.unique(labels[inside], return_inverse=True)
    if centre == "foreground":
        depth = ndimage.distance_transform_edt(inside)[inside]
    else:
        # An edge pixel is one pixel from the outside, and so is every pixel from its own edge.
        depth = ndimage.distance_transform_edt(inside & ~inner_edges(labels))[inside] + 1
    y, x = np.nonzero(inside)
    mass = np.bincount(index, depth)
    centre_y = np.bincount(index, depth * y) / mass
    centre_x = np.bincount(index, depth * x) / mass
    squared = (y - centre_y[index]) ** 2 + (x - centre_x[index]) ** 2
    scale = 1 / np.sqrt(np.bincount(index)) if alpha == "auto" else np.full(len(ids), float(alpha))
    distance = np.zeros(labels.shape, np.float32)
    distance[inside] = 1 / (1 + scale[index] * beta * squared)
    return distance


def pixel_weights(
    labels: np.ndarray,
    hard_background: np.ndarray | None = None,
    *,
    seam_weight: float = 4.0,
    hard_weight: float = 4.0,
) -> np.ndarray:
    """How much each pixel counts in the loss.

    Args:
        labels: `(Y, X)` integer, 0 is background.
        hard_background: `(Y, X)` integer, non-zero where something that looks like an object is
            none (micronuclei, debris); pixels of `labels` are never hard background.
        seam_weight: of background within two pixels of two objects, and of edges between touching
            ones: the few pixels that decide whether objects are told apart.
        hard_weight: of hard background.

    Returns:
        `(Y, X)` float32, 1 where nothing is special.
    """
    weights = np.ones(labels.shape, np.float32)
    greatest = ndimage.maximum_filter(labels, 5)
    filled = np.where(labels > 0, labels, np.iinfo(labels.dtype).max)
    least = ndimage.minimum_filter(filled, 5)
    seam = (least != greatest) & (greatest > 0) & (least < np.iinfo(labels.dtype).max)
    weights[seam] = seam_weight
    if hard_background is not None:
        weights[(hard_background > 0) & (labels == 0)] = hard_weight
    return weights
