"""Shapes in label images `(Y, X)` made tidy: spikes, pieces and holes."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage


def opened(labels: np.ndarray) -> np.ndarray:
    """Objects without threads and spikes: a majority vote around each pixel, its rim kept."""
    core = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
    grown = cv2.dilate(np.where(core, labels, 0).astype(np.float32), np.ones((5, 5), np.uint8))
    return np.where(grown.astype(np.int32) == labels, labels, 0)


def largest_pieces(labels: np.ndarray, least: int) -> np.ndarray:
    """Each object's largest piece (4 neighbours), without holes, if it has `least` pixels."""
    kept = np.zeros_like(labels)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == label)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        if sizes.max(initial=0) < least:
            continue
        filled = ndimage.binary_fill_holes(pieces == sizes.argmax() + 1)
        kept[box][filled & ((labels[box] == 0) | (labels[box] == label))] = label
    return kept
