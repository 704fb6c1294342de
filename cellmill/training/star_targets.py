"""What a star-convex network is taught: distances to the edge along rays, and how far inside."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.labels.edges import inner_edges


def edge_distances(labels: np.ndarray, rays: int, stride: int = 1) -> np.ndarray:
    """How far it is from a pixel to the end of its object along each of several rays.

    Args:
        labels: `(Y, X)` integer, 0 is background.
        rays: how many, at angles `2πk / rays` from the direction of growing x towards that of y.
        stride: each so many pixels one is asked.

    Returns:
        `(⌈Y / stride⌉, ⌈X / stride⌉, rays)` float32 in pixels; 0 in the background. The image's end
        ends an object.

    Source: Schmidt et al., "Cell Detection with Star-Convex Polygons" (MICCAI 2018); a ray is
    followed pixel by pixel and ends halfway to the first pixel that is not the object's.
    """
    rows, columns = (-(-side // stride) for side in labels.shape)
    found = np.zeros((rows, columns, rays), np.float32)
    angles = 2 * math.pi * np.arange(rays) / rays
    steps = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    # A step goes on by one pixel along the axis that it follows most.
    steps /= np.abs(steps).max(axis=1, keepdims=True)
    given = np.ascontiguousarray(labels)
    in_threads(lambda part: _follow(given, steps, stride, found, *part), bands(rows))
    return found


def centre_probability(labels: np.ndarray, stride: int = 1) -> np.ndarray:
    """How far inside its object a pixel is, 1 at the object's middle.

    Args:
        labels: `(Y, X)` integer, 0 is background.
        stride: each so many pixels one is asked.

    Returns:
        `(⌈Y / stride⌉, ⌈X / stride⌉)` float32: the distance to the object's edge as a part of the
        object's greatest; 0 in the background.
    """
    inside = labels > 0
    found = np.zeros(labels.shape, np.float32)
    if inside.any():
        depth = ndimage.distance_transform_edt(inside & ~inner_edges(labels))[inside] + 1
        ids, index = np.unique(labels[inside], return_inverse=True)
        greatest = np.zeros(len(ids))
        np.maximum.at(greatest, index, depth)
        found[inside] = depth / greatest[index]
    return found[::stride, ::stride]


@kernel
def _follow(labels, steps, stride, found, start, stop):  # type: ignore[no-untyped-def]
    high, wide = labels.shape
    for row in range(start, stop):
        for column in range(found.shape[1]):
            label = labels[row * stride, column * stride]
            if label == 0:
                continue
            for k in range(len(steps)):
                y, x, count = np.float64(row * stride), np.float64(column * stride), 0
                while True:
                    y += steps[k, 0]
                    x += steps[k, 1]
                    count += 1
                    i, j = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
                    if i < 0 or j < 0 or i >= high or j >= wide or labels[i, j] != label:
                        break
                long = np.sqrt(steps[k, 0] ** 2 + steps[k, 1] ** 2)
                found[row, column, k] = (count - 0.5) * long
