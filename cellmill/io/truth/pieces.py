"""Labels that are likely to be no objects: numbers in pieces far apart, or without a background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_pieces

#: A piece of a label counts that has this part of the area of the label's largest.
_MAIN = 0.1
#: Two pieces are far apart if more than this lies between them, in px and in diameters.
_FAR_PX, _FAR_DIAMETERS = 5, 1.0
#: So many labels may be in pieces far apart, as slips of who drew them: one, or this part of many.
_SLIPS = 0.02
#: Up to so many numbers are likely classes.
_CLASSES = 8
#: With more pieces than this, many times more than labels, their places do not matter.
_MANY = 200_000
#: A label that covers this part of an image and touches all its sides is likely its background.
_BACKGROUND = 0.5


def oddities(labels: np.ndarray, stored: np.dtype) -> tuple[tuple[str, ...], int]:
    """Look for what label images of objects do not have.

    Args:
        labels: int32 `(Y, X)` or `(Z, Y, X)`.
        stored: the dtype that they were stored in.

    Returns:
        What a user should know, a phrase each; and the number of labels.
    """
    pieces, count = label_pieces(labels, return_num=True)
    if not count:
        return (), 0
    values = np.zeros(count + 1, labels.dtype)
    values[pieces.ravel()] = labels.ravel()
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    distinct = np.unique(values[1:])
    found = []
    if not (labels == 0).any():
        found.append("no pixel is 0, which is the background")
    elif (whole := _background(labels, values, areas)) is not None:
        found.append(f"label {whole} covers most of the image, all its sides: 0 is the background")
    if count > len(distinct):
        found += _scattered(pieces, areas[1:], values[1:], distinct, stored)
    return tuple(found), len(distinct)


def _background(labels: np.ndarray, values: np.ndarray, areas: np.ndarray) -> int | None:
    largest = int(areas[1:].argmax()) + 1
    value = values[largest]
    sides = [labels.take(end, axis) for axis in range(labels.ndim) for end in (0, -1)]
    if areas[largest] > _BACKGROUND * labels.size and all((s == value).any() for s in sides):
        return int(value)
    return None


def _scattered(
    pieces: np.ndarray,
    areas: npt.NDArray[np.int64],
    values: np.ndarray,
    distinct: np.ndarray,
    stored: np.dtype,
) -> list[str]:
    """Say how many labels lie in pieces far apart, and what numbers are like that.

    Args:
        pieces: connected pieces of one label, numbered from 1.
        areas: of the pieces.
        values: the label of each piece.
        distinct: the labels.
        stored: the dtype that they were stored in.
    """
    count, total = len(distinct), len(areas)
    if total > max(_MANY, 4 * count):
        return [
            f"{count} numbers in {total} pieces: these are values of a picture, not labels, "
            "or many wrapped ones"
        ]
    of_piece = np.searchsorted(distinct, values)
    scattered = _in_far_pieces(pieces, areas, count, of_piece)
    highest = int(distinct[-1])
    full = highest in (255, 65535) and stored.kind != "b"
    # Numbers that were cut off instead of wrapped all ended as the highest.
    slips = max(_SLIPS * count, int(count > _CLASSES))
    if scattered.sum() <= slips and not (full and scattered[-1]):
        return []
    first = int(np.flatnonzero(scattered)[0])
    several = int((of_piece == first).sum())
    said = (
        f"{int(scattered.sum())} of {count} labels lie in pieces far apart "
        f"(label {int(distinct[first])} in {several})"
    )
    if full:
        said += (
            f", and end at {highest}: numbers that did not fit {8 if highest == 255 else 16} bits"
        )
    elif count <= _CLASSES and total >= 5 * count:
        said += ", like classes, not objects"
    return [f"{said}; each label is taken as one object (truth_kind=colours: each piece)"]


def _in_far_pieces(
    pieces: np.ndarray,
    areas: npt.NDArray[np.int64],
    count: int,
    of_piece: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Say of each label whether a main piece of it lies far from its largest."""
    largest = np.zeros(count, np.int64)
    order = np.argsort(areas, kind="stable")
    largest[of_piece[order]] = order
    boxes = np.array(
        [
            [*(side.start for side in box), *(side.stop for side in box)]
            for box in ndimage.find_objects(pieces)
        ],
        np.int64,
    )
    ndim = pieces.ndim
    near = boxes[largest][of_piece]
    gaps = np.maximum(boxes[:, :ndim] - near[:, ndim:], near[:, :ndim] - boxes[:, ndim:])
    apart = gaps.max(axis=1)
    size = areas[largest][of_piece]
    diameter = 2 * np.sqrt(size / np.pi) if ndim == 2 else np.cbrt(6 * size / np.pi)
    far = (areas >= _MAIN * size) & (apart > np.maximum(_FAR_PX, _FAR_DIAMETERS * diameter))
    found = np.zeros(count, bool)
    found[of_piece[far]] = True
    return found
