"""What is segmented: the centre of an image, or a mosaic of it where more is asked for."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels

#: So far from its label an object still lights the image, pixels.
GLOW = 3


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


def thinned(image: np.ndarray, labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Take objects out of an image, so that less dense ones of the same size can be measured.

    Which objects stay is drawn with a fixed seed. What lies in an object that goes, or within
    `GLOW` pixels of it, becomes what lies as far beyond the next pixel of background as it lies
    before it, or that pixel: texture and noise stay those of the background.

    Args:
        image: `(Y, X, C)`.
        labels: `(Y, X)`, 0 is background.
        share: of the objects that stay, 0 to 1.

    Returns:
        the image, and int32 labels with canonical numbers.

    Raises:
        BadInput: no background is left to fill with.
    """
    ids = np.unique(labels[labels > 0])
    gone = np.random.default_rng(0).permutation(ids)[round(share * ids.size) :]
    out = np.isin(labels, gone)
    if not out.any():
        return image, canonical_labels(labels)
    near = ndimage.binary_dilation(out, iterations=GLOW)
    filled, background = near & (out | (labels == 0)), ~near & (labels == 0)
    if not background.any():
        raise BadInput("benchmark density", expected="background to fill with", found="none")
    nearest = ndimage.distance_transform_edt(~background, return_indices=True)[1]
    y, x = (nearest[axis][filled] for axis in (0, 1))
    beyond = [2 * at - here for at, here in zip((y, x), np.nonzero(filled), strict=True)]
    inside = [np.clip(b, 0, length - 1) for b, length in zip(beyond, labels.shape, strict=True)]
    good = background[inside[0], inside[1]]
    for b, i in zip(beyond, inside, strict=True):
        good &= b == i
    made = image.copy()
    made[filled] = image[np.where(good, inside[0], y), np.where(good, inside[1], x)]
    return made, canonical_labels(np.where(out, 0, labels))


def with_channels(image: np.ndarray, count: int) -> np.ndarray:
    """Repeat an image's channels until there are `count`; 0 leaves it as it is.

    Raises:
        BadInput: it has more.
    """
    own = image.shape[-1]
    if count and count < own:
        raise BadInput("benchmark channels", expected=f"at least {own}", found=f"{count}")
    return image[..., np.arange(count) % own] if count else image


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
