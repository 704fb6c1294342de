"""Watershed of a map from markers."""

from __future__ import annotations

import numpy as np
import skimage.segmentation


def watershed(height: np.ndarray, markers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Flood `height` downwards from markers, within a mask; every reached pixel gets a label.

    Pixels are taken in order of the lowest level at which a flood from the highest values reaches
    them: the next is the one with the greatest `min(own value, parent's level)`, the earlier found
    first among equals. Floods spread over faces (4 neighbours in 2-D, 6 in 3-D) and there are no
    lines between labels (scikit-image's priority flood, Soille and Ansoult 1990; Beucher and Meyer
    1993).

    Args:
        height: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite; objects are its hills.
        markers: same shape, integer, 0 where there is none; those outside the mask are ignored.
        mask: same shape, bool.

    Returns:
        int32 of the same shape: the marker's id; 0 outside the mask and where no flood arrives.
    """
    return skimage.segmentation.watershed(-height, markers, mask=mask).astype(np.int32, copy=False)
