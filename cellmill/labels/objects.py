"""Objects of a label image: areas, small objects, the border, eroded edges.

A label image is an integer array of any dimension; 0 is background and every other value names an
object, connected or not.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import ndimage

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads

_INT32_OBJECTS = 2**31 - 1
_BLOCK = 1 << 22


def object_areas(labels: np.ndarray) -> np.ndarray:
    """Give the number of pixels (voxels) of every object, in order of ids.

    Args:
        labels: any dimension, integer, not negative, ids not far above the pixel count.

    Returns:
        int64, one for each label that occurs, background left out.
    """
    areas = areas_by_id(labels)[1:]
    return areas[areas > 0]


def areas_by_id(labels: np.ndarray) -> np.ndarray:
    """Give the number of pixels (voxels) that have each id, from 0 to the highest.

    Args:
        labels: any dimension, integer, not negative, ids not far above the pixel count.

    Returns:
        int64, 0 for ids that do not occur; the first counts the background.
    """
    flat = labels.reshape(-1)
    cuts = bands(flat.size, 1 << 20)
    highest = max(in_threads(lambda cut: int(flat[slice(*cut)].max(initial=0)), cuts))
    return np.sum(in_threads(lambda cut: _count(flat[slice(*cut)], highest), cuts), axis=0)


def extents(labels: np.ndarray, highest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give areas, first voxels and boxes of the ids of a volume, from 0 on; of 0 nothing is said.

    Args:
        labels: `(Z, Y, X)`, integer, not negative.
        highest: no id is above it.

    Returns:
        Voxels, int64; place of the first voxel in the volume laid flat, int64, its size where there
        is none; and `(highest + 1, 6)` int64: z0, z1, y0, y1, x0, x1.
    """
    areas, first, boxes = _extents(labels, highest)
    return areas, first, boxes


def objects_at_border(labels: np.ndarray, count: int) -> np.ndarray:
    """Say of the ids 0…`count` - 1 whether the image's border cuts what has them.

    Args:
        labels: any dimension, integer, not negative, ids below `count`.
        count: one more than the highest id, the length of what `areas_by_id` gives.

    Returns:
        `(count,)` bool; that of 0 says nothing of objects.
    """
    found = np.zeros(count, bool)
    if labels.size:
        for axis, end in itertools.product(range(labels.ndim), (0, -1)):
            found[labels.take(end, axis)] = True
    return found


def object_diameters(labels: np.ndarray) -> np.ndarray:
    """Diameters in pixels of the objects that the border does not cut; of all if it cuts each.

    The diameter is that of the circle of an object's area.

    Args:
        labels: `(Y, X)` integer, 0 is background.

    Returns:
        float64, in order of ids.
    """
    areas = areas_by_id(labels)
    cut = objects_at_border(labels, len(areas))
    areas[0] = 0
    whole = areas[(areas > 0) & ~cut]
    return np.sqrt((whole if len(whole) else areas[areas > 0]) * (4 / math.pi))


def small_objects(
    areas: np.ndarray, cut: np.ndarray, threshold: float, fraction: float = 0.0
) -> np.ndarray:
    """Say which objects are small: by a number of pixels, or by a part of the median area.

    The median is taken over the objects of at least `threshold` pixels, so that specks do not lower
    it. Of an object that the image's border cuts half is to be seen, on average: half of the part
    is asked of it. With a fraction of at most 1 no more than half of the objects are small by it.

    Args:
        areas: of all objects of an image, in pixels (voxels).
        cut: bool, whether the image's border cuts them.
        threshold: in pixels; what has fewer is small whatever the others are.
        fraction: of the median area; 0 counts for nothing.

    Returns:
        bool, one for each object.

    Example:
        >>> areas = np.array([1, 2, 14, 14, 50, 60, 60])
        >>> cut = np.array([False, True, False, True, False, False, False])
        >>> small_objects(areas, cut, threshold=5, fraction=0.5).tolist()
        [True, True, True, False, False, False, False]
    """
    small = areas < threshold
    left = areas[areas >= max(threshold, 1)]
    if not fraction or not len(left):
        return small
    least = fraction * float(np.median(left))
    return small | (areas < np.where(cut, least / 2, least))


def remove_small_objects(labels: np.ndarray, threshold: float, fraction: float = 0.0) -> np.ndarray:
    """Set objects with fewer than `threshold` pixels to background, and those far below the median.

    All pixels of a label count as one object, wherever they lie.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)`, integer, not negative, ids not far above the pixel count.
        threshold: in pixels (voxels); nothing is removed up to 1.
        fraction: objects below this part of the median area go too; see `small_objects`.

    Returns:
        Labels of the same dtype, ids kept; the argument itself if nothing is small.
    """
    areas = areas_by_id(labels)
    small = np.zeros(len(areas), bool)
    cut = objects_at_border(labels, len(areas))
    small[1:] = small_objects(areas[1:], cut[1:], threshold, fraction) & (areas[1:] > 0)
    if not small.any():
        return labels
    flat, kept = labels.reshape(-1), np.empty(labels.size, labels.dtype)
    in_threads(
        lambda band: _drop(flat[slice(*band)], small, kept[slice(*band)]), bands(flat.size, 1 << 20)
    )
    return kept.reshape(labels.shape)


def erode_labels(labels: np.ndarray, width: int) -> np.ndarray:
    """Set the rim of every object to background, `width` times one pixel.

    A rim pixel has a neighbour across a face (4 in 2-D, 6 in 3-D) with another label or background.
    The image border is no edge. An object may fall apart (its pieces keep its id) or vanish.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)`, integer.
        width: in pixels.

    Returns:
        Labels of the same dtype, ids kept; the argument itself if `width` is 0.
    """
    faces = ndimage.generate_binary_structure(labels.ndim, 1)
    for _ in range(width):
        lowest = ndimage.minimum_filter(labels, footprint=faces, mode="nearest")
        highest = ndimage.maximum_filter(labels, footprint=faces, mode="nearest")
        labels = np.where(lowest == highest, labels, 0)
    return labels


@kernel
def _count(flat, highest):  # type: ignore[no-untyped-def]
    areas = np.zeros(highest + 1, np.int64)
    for label in flat:
        areas[label] += 1
    return areas


@kernel
def _drop(flat, dropped, out):  # type: ignore[no-untyped-def]
    for i in range(len(flat)):
        out[i] = 0 if dropped[flat[i]] else flat[i]


@kernel
def _extents(labels, highest):  # type: ignore[no-untyped-def]
    deep, high, wide = labels.shape
    areas = np.zeros(highest + 1, np.int64)
    first = np.full(highest + 1, labels.size)
    boxes = np.zeros((highest + 1, 6), np.int64)
    for z in range(deep):
        for y in range(high):
            for x in range(wide):
                label = labels[z, y, x]
                if not label:
                    continue
                box = boxes[label]
                if not areas[label]:
                    first[label] = (z * high + y) * wide + x
                    box[0], box[2], box[4] = z, y, x
                areas[label] += 1
                box[1] = z + 1
                box[2], box[3] = min(box[2], y), max(box[3], y + 1)
                box[4], box[5] = min(box[4], x), max(box[5], x + 1)
    return areas, first, boxes
