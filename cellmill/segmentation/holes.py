"""Filling holes in objects as the reference does."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import euler_number

from cellmill.errors import BadInput


def fill_holes(labels: np.ndarray, size: float) -> np.ndarray:
    """Give each object the pieces inside its bounding box that have fewer than `size` pixels.

    Only objects with at least as many holes as pieces are touched (Euler number below 1, pixels
    joined over edges and corners). For those, every 4-connected piece of "not this object" within
    the object's bounding box that has fewer than `size` pixels becomes part of it. Beside true
    holes that takes in small notches at the sides and corners of the box, pixels of neighbours
    included. Objects are done in order of ids; which are touched, and their boxes, are those before
    any filling, the pieces those of the moment. All this is the reference's rule, kept because
    labels are compared with its.

    Args:
        labels: `(Y, X)`, integer, not negative.
        size: in pixels; a piece of exactly that many stays.

    Returns:
        Labels of the same dtype, ids kept; the argument itself if `size` is at most 1.

    Raises:
        BadInput: the labels are not two-dimensional.
    """
    if labels.ndim != 2:
        raise BadInput("labels to fill holes in", expected="(Y, X)", found=f"{labels.ndim}-D")
    if size <= 1:
        return labels
    filled = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == label
        # A hole needs 3 × 3 pixels; the Euler number is the dear part.
        if min(mask.shape) < 3 or mask.all() or euler_number(mask, connectivity=2) >= 1:
            continue
        window = filled[box]
        pieces, _ = ndimage.label(window != label)
        areas = np.bincount(pieces.reshape(-1))
        small = areas < size
        small[0] = False
        window[small[pieces]] = label
    return filled
