"""Markers: single peaks of a map, and one label for each connected maximum."""

from __future__ import annotations

import numpy as np
import skimage.feature

from cellmill.compiled import kernel


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
    markers = np.zeros(maxima.shape, np.int32)
    volume = (1,) * (3 - maxima.ndim) + maxima.shape
    _label(
        np.flatnonzero(maxima),
        np.ascontiguousarray(maxima).reshape(volume),
        markers.reshape(volume),
    )
    return markers


@kernel
def _label(places, maxima, markers):  # type: ignore[no-untyped-def]
    """Fill from each unlabelled pixel in raster order: what is few is quickly gone through."""
    depth, height, width = maxima.shape
    pending = np.empty(len(places), np.int64)
    count = 0
    for place in places:
        if markers.flat[place]:
            continue
        count += 1
        markers.flat[place] = count
        pending[0] = place
        waiting = 1
        while waiting:
            waiting -= 1
            rest, x = divmod(pending[waiting], width)
            z, y = divmod(rest, height)
            for k in range(max(z - 1, 0), min(z + 2, depth)):
                for j in range(max(y - 1, 0), min(y + 2, height)):
                    for i in range(max(x - 1, 0), min(x + 2, width)):
                        if maxima[k, j, i] and not markers[k, j, i]:
                            markers[k, j, i] = count
                            pending[waiting] = (k * height + j) * width + i
                            waiting += 1
