"""Markers: single peaks of a map, and one label for each connected maximum."""

from __future__ import annotations

import numpy as np
import skimage.feature

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads

#: What `neighbour_maxima` finds.
STRICT, FLAT, SHOULDER = 1, 2, 3


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


def neighbour_maxima(image: np.ndarray) -> np.ndarray:
    """Find pixels below none of their neighbours over faces, edges and corners.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, float32, finite.

    Returns:
        uint8 of the same shape: `STRICT` is above all of its neighbours; `FLAT` has equal ones that
        are such maxima too; `SHOULDER` has an equal one that is below another; 0 is below one. What
        a window cuts off is missed by pixels up to 2 from its edge.
    """
    kinds = np.zeros(image.shape, np.uint8)
    volume = np.ascontiguousarray(image).reshape((1,) * (3 - image.ndim) + image.shape)
    found = kinds.reshape(volume.shape)
    cuts = bands(volume.shape[1])
    in_threads(lambda cut: _compare(volume, found, *cut), cuts)
    in_threads(lambda cut: _find_shoulders(volume, found, *cut), cuts)
    return kinds


def label_markers(maxima: np.ndarray) -> np.ndarray:
    """Label connected maxima, pixels joined over faces, edges and corners (8 in 2-D, 26 in 3-D).

    Args:
        maxima: bool, `(Y, X)` or `(Z, Y, X)`.

    Returns:
        int32 of the same shape, 1…n in raster order of each marker's first pixel, 0 elsewhere.
    """
    places = np.flatnonzero(maxima)
    markers = np.zeros(maxima.shape, np.int32)
    markers.reshape(-1)[places] = label_places(places, maxima.shape)
    return markers


def label_places(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Label connected maxima as `label_markers` does, given by their places.

    Args:
        places: in the image laid flat, int64, ascending.
        shape: of the image, `(Y, X)` or `(Z, Y, X)`.

    Returns:
        int32, an id for each place.
    """
    around = np.argwhere(np.ones((3,) * len(shape), bool)) - 1
    before = around[: len(around) // 2]
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return _label(places, before @ strides, before[:, -1], before[:, -2], shape[-1], shape[-2])


@kernel
def _compare(image, kinds, start, stop):  # type: ignore[no-untyped-def]
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(start, stop):
            for x in range(width):
                here = image[z, y, x]
                kind = STRICT
                for w in range(max(z - 1, 0), min(z + 2, depth)):
                    for v in range(max(y - 1, 0), min(y + 2, height)):
                        for u in range(max(x - 1, 0), min(x + 2, width)):
                            if image[w, v, u] > here:
                                kind = 0
                            elif kind and image[w, v, u] == here and (w, v, u) != (z, y, x):
                                kind = FLAT
                        if not kind:
                            break
                    if not kind:
                        break
                kinds[z, y, x] = kind


@kernel
def _find_shoulders(image, kinds, start, stop):  # type: ignore[no-untyped-def]
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(start, stop):
            for x in range(width):
                if kinds[z, y, x] != FLAT:
                    continue
                for w in range(max(z - 1, 0), min(z + 2, depth)):
                    for v in range(max(y - 1, 0), min(y + 2, height)):
                        for u in range(max(x - 1, 0), min(x + 2, width)):
                            if image[w, v, u] == image[z, y, x] and not kinds[w, v, u]:
                                kinds[z, y, x] = SHOULDER


@kernel
def _label(places, offsets, right, down, width, height):  # type: ignore[no-untyped-def]
    """Join each place to those of its neighbours that come before it; roots are the first."""
    parents = np.arange(len(places))
    other = np.zeros(len(offsets), np.int64)
    for i in range(len(places)):
        rest, x = divmod(places[i], width)
        y = rest % height
        for k in range(len(offsets)):
            wanted = places[i] + offsets[k]
            while places[other[k]] < wanted:
                other[k] += 1
            if places[other[k]] != wanted:
                continue
            if not (0 <= x + right[k] < width and 0 <= y + down[k] < height):
                continue
            one, two = i, other[k]
            while parents[one] != one:
                parents[one] = parents[parents[one]]
                one = parents[one]
            while parents[two] != two:
                parents[two] = parents[parents[two]]
                two = parents[two]
            parents[max(one, two)] = min(one, two)
    labels = np.empty(len(places), np.int32)
    count = 0
    for i in range(len(places)):
        if parents[i] == i:
            count += 1
            labels[i] = count
        else:
            labels[i] = labels[parents[i]]
    return labels
