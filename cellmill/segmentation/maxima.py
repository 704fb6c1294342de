"""Markers: the maxima of a map, one label each."""

from __future__ import annotations

import numpy as np
import skimage.feature
import skimage.morphology
from scipy import ndimage

from cellmill.errors import BadInput


def h_maxima(image: np.ndarray, h: float, footprint: np.ndarray | None = None) -> np.ndarray:
    """Find the maxima that rise at least `h` above the pass to a higher one.

    The pixels where `image` exceeds the morphological reconstruction of `image - h` under `image`
    by at least `h` (Soille, Morphological Image Analysis, 2nd ed., 6.3.4). If `h` is more than the
    image's whole range there are none.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite.
        h: the least height, above 0, in the image's units.
        footprint: neighbourhood over which the reconstruction spreads, odd sides; `None` is 3 × 3
            (× 3).

    Returns:
        A bool mask of the image's shape.

    Raises:
        BadInput: `h` is not above 0.
    """
    if not h > 0:
        raise BadInput("height h of a maximum", expected="more than 0", found=f"{h}")
    return skimage.morphology.h_maxima(image, h, footprint).astype(bool)


def ball_footprint(radius: int, ndim: int) -> np.ndarray:
    """A disk (2-D) or ball (3-D): the pixels whose centre is at most `radius` away.

    Args:
        radius: in pixels; 2 gives 13 pixels in 2-D.
        ndim: of the image.

    Returns:
        Bool, sides `2 * radius + 1`.
    """
    side = np.arange(-radius, radius + 1) ** 2
    squares = np.meshgrid(*[side] * ndim, indexing="ij")
    return np.sum(squares, axis=0) <= radius**2


def local_peaks(
    image: np.ndarray, min_distance: int, threshold: float, exclude_border: int | bool = False
) -> np.ndarray:
    """Find local maxima above a threshold, no two of them nearer than `min_distance`.

    Candidates are the pixels that equal the maximum of the square (cube) of sides
    `2 * min_distance + 1` around them and exceed `threshold`; a constant image has none. Of equal
    candidates nearer than `min_distance` (largest coordinate difference) one stays, the first that
    scikit-image visits.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite.
        min_distance: in pixels, at least 0.
        threshold: peaks have a higher value.
        exclude_border: leave out peaks nearer than this many pixels to the border; `True` means
            `min_distance`.

    Returns:
        A bool mask of the image's shape, one pixel a peak.
    """
    peaks = skimage.feature.peak_local_max(
        image, min_distance=min_distance, threshold_abs=threshold, exclude_border=exclude_border
    )
    mask = np.zeros(image.shape, bool)
    mask[tuple(peaks.T)] = True
    return mask


def label_markers(maxima: np.ndarray) -> np.ndarray:
    """Label connected maxima, pixels joined over faces, edges and corners (8 in 2-D, 26 in 3-D).

    Args:
        maxima: bool, `(Y, X)` or `(Z, Y, X)`.

    Returns:
        int32 of the same shape, 1…n in raster order of each marker's first pixel, 0 elsewhere.
    """
    markers, _ = ndimage.label(maxima, np.ones((3,) * maxima.ndim, bool))
    return markers
