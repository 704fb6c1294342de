"""What is segmented: the centre of an image, or a mosaic of it where more is asked for."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cellmill.labels.numbering import canonical_labels


def centre(shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Return the window of `side` pixels a side in the middle of `(Y, X)`."""
    starts = [(length - side) // 2 for length in shape]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def is_mosaic(shape: tuple[int, int], side: int) -> bool:
    """Whether a square of that side is larger than an image of `(Y, X)`."""
    return side > min(shape)


def square(image: np.ndarray, side: int) -> np.ndarray:
    """Cut a square from an image's centre, or lay mirrored copies of the image side by side.

    Mirrored copies meet without an edge, so that the objects at seams are whole ones.

    Args:
        image: `(Y, X, …)`.
        side: of the square, pixels.

    Returns:
        `(side, side, …)`, the same dtype.
    """
    shape = (image.shape[0], image.shape[1])
    if not is_mosaic(shape, side):
        return np.ascontiguousarray(image[centre(shape, side)])
    rows, columns = (_mirrored(length, side) for length in shape)
    return np.ascontiguousarray(image[np.ix_(rows, columns)])


def square_labels(labels: np.ndarray, side: int) -> np.ndarray:
    """Cut or lay out a label image as `square` does its image; each copy of an object is its own.

    An object that a seam cuts is one with its mirror image, as it is in the pixels.

    Args:
        labels: `(Y, X)`, 0 is background.
        side: of the square, pixels.

    Returns:
        `(side, side)` int32, canonical numbers.
    """
    shape = (labels.shape[0], labels.shape[1])
    laid = square(labels, side).astype(np.int64)
    if is_mosaic(shape, side):
        blocks = [np.arange(side) // length for length in shape]
        block = blocks[0][:, None] * (int(blocks[1][-1]) + 1) + blocks[1]
        numbered = np.where(laid > 0, block * (int(labels.max()) + 1) + laid, 0)
        laid = _joined(numbered, laid, shape)
    return canonical_labels(laid)


def _mirrored(length: int, side: int) -> np.ndarray:
    """Positions `0 … length − 1`, then back again, and so on."""
    place = np.arange(side) % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)


def _joined(numbered: np.ndarray, original: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give the two halves of an object at a seam one number."""
    halves = []
    for axis, length in enumerate(shape):
        seams = np.arange(length, numbered.shape[axis], length)
        before, after = (np.take(numbered, seams - back, axis).ravel() for back in (1, 0))
        same = np.take(original, seams, axis).ravel() > 0
        halves.append(np.stack([before[same], after[same]]))
    pairs = np.concatenate(halves, axis=1)
    if not pairs.size:
        return numbered
    size = int(numbered.max()) + 1
    graph = coo_matrix((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), (size, size))
    _, group = connected_components(graph, directed=False)
    return np.where(numbered > 0, group[numbered] + 1, 0)
