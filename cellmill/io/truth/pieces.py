"""Labels that are likely to be no objects: numbers in pieces far apart, or without a background."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
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


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of one label, over edges and corners, in raster order of first pixels.

    Attributes:
        ndim: axes of the label image.
        size: its pixels.
        full: whether none of them is 0.
        values: the label of each piece, int64 `(N,)`.
        areas: its pixels, int64 `(N,)`.
        boxes: half-open, int64 `(N, 2 ndim)`: first places along each axis, then ends.
        sides: the labels that touch each side of the image.
        numbers: of what `PieceFinder` called them, its number from 1; 0 first.
    """

    ndim: int
    size: int
    full: bool
    values: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    sides: Sequence[np.ndarray]
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


class PieceFinder:
    """Finds the pieces of a label image that comes plane by plane; two planes are held.

    Args:
        ndim: 3 of a volume; 2 of an image, its only plane.
    """

    def __init__(self, ndim: int) -> None:
        self._ndim, self._size, self._full = ndim, 0, True
        self._count = 0
        self._joins: list[np.ndarray] = []
        self._starts: list[int] = []
        self._tables: list[np.ndarray] = []
        self._sides: list[np.ndarray] = [np.zeros(0, np.int64)] * (2 * ndim)
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, plane: np.ndarray) -> None:
        """Take the next plane into account, `(Y, X)` int32, 0 is background."""
        depth, start = len(self._starts), self._count
        self._starts.append(start)
        ids = self._ids(plane, start)
        self._count = int(ids.max(initial=start))
        table = _described(ids, plane, start, self._count - start, depth)
        self._tables.append(table)
        if self._before is not None:
            self._joins.append(_touching(self._before, (plane, ids)))
        self._before = plane, ids
        self._size += plane.size
        self._full = self._full and bool((plane != 0).all())
        ends = [plane[0], plane[-1], plane[:, 0], plane[:, -1]]
        for side, values in enumerate(ends, start=2 * self._ndim - 4):
            self._sides[side] = np.union1d(self._sides[side], values)
        if self._ndim == 3:
            last = np.unique(table[:, 0])
            self._sides[1] = last
            if not depth:
                self._sides[0] = last

    def numbered(self, place: int, plane: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Give the pieces of a plane their numbers.

        Args:
            place: of the plane among those that were added.
            plane: as it was added.
            numbers: by what a piece was called when it came, 0 first.
        """
        last = self._before is not None and place == len(self._starts) - 1
        ids = self._before[1] if last and self._before else self._ids(plane, self._starts[place])
        return np.asarray(numbers[ids])

    def pieces(self) -> Pieces:
        """All pieces of the planes that came."""
        numbers = self._numbers()
        count = int(numbers.max(initial=0))
        table = np.concatenate([np.zeros((0, 8), np.int64), *self._tables])
        place = numbers[1:] - 1
        values, areas = np.zeros(count, np.int64), np.zeros(count, np.int64)
        values[place] = table[:, 0]
        np.add.at(areas, place, table[:, 1])
        most = np.iinfo(np.int64).max
        boxes = np.tile(np.array([most] * 3 + [0] * 3), (count, 1))
        np.minimum.at(boxes[:, :3], place, table[:, 2:5])
        np.maximum.at(boxes[:, 3:], place, table[:, 5:8])
        if self._ndim == 2:
            boxes = boxes[:, [1, 2, 4, 5]]
        return Pieces(
            self._ndim, self._size, self._full, values, areas, boxes, self._sides, numbers
        )

    def _numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of all pieces, by the first place of any of their parts; 0 first."""
        numbers = np.arange(self._count + 1)
        if not self._joins:
            return numbers
        one, other = np.concatenate(self._joins).T
        graph = coo_array((np.ones(len(one), bool), (one, other)), (len(numbers),) * 2)
        _, parts = connected_components(graph, directed=False)
        _, first, place = np.unique(parts, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[place]

    def _ids(self, plane: np.ndarray, start: int) -> np.ndarray:
        """The pieces of a plane by itself, numbered on."""
        found = label_pieces(plane).astype(np.int64, copy=False)
        found[found > 0] += start
        return np.asarray(found)


def _described(
    ids: np.ndarray, labels: np.ndarray, start: int, count: int, depth: int
) -> npt.NDArray[np.int64]:
    """Label, area and box (z, y, x, then ends) of each piece of a plane."""
    flat, width = ids.reshape(-1), ids.shape[1]
    firsts = np.flatnonzero(np.diff(ids, axis=1, prepend=-1))
    lengths = np.diff(firsts, append=flat.size)
    real = flat[firsts] > 0
    firsts, lengths = firsts[real], lengths[real]
    piece = flat[firsts] - start - 1
    y, x = np.divmod(firsts, width)
    table = np.zeros((count, 8), np.int64)
    table[piece, 0] = labels.reshape(-1)[firsts]
    np.add.at(table[:, 1], piece, lengths)
    table[:, 2:5], table[:, 5] = [depth, ids.shape[0], width], depth + 1
    for column, values, join in (
        (3, y, np.minimum),
        (4, x, np.minimum),
        (6, y + 1, np.maximum),
        (7, x + lengths, np.maximum),
    ):
        join.at(table[:, column], piece, values)
    return table


def _touching(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> npt.NDArray[np.int64]:
    """Which pieces of two planes, labels and pieces each, touch and have one label, `(N, 2)`."""
    found = []
    for y, x in itertools.product((-1, 0, 1), repeat=2):
        near = _shifted(y), _shifted(x)
        far = _shifted(-y), _shifted(-x)
        labels = one[0][near]
        same = (labels == other[0][far]) & (labels != 0)
        pairs = np.stack([one[1][near][same], other[1][far][same]], axis=1)
        differ = (pairs[1:] != pairs[:-1]).any(axis=1)
        found.append(pairs[np.append(np.ones(min(len(pairs), 1), bool), differ)])
    return np.unique(np.concatenate(found), axis=0)


def _shifted(by: int) -> slice:
    """What of an axis has a neighbour that many places on."""
    return slice(max(-by, 0), None if by <= 0 else -by)


def oddities(found: Pieces, stored: np.dtype) -> tuple[tuple[str, ...], int]:
    """Look for what label images of objects do not have.

    Args:
        found: the pieces of its labels.
        stored: the dtype that they were stored in.

    Returns:
        What a user should know, a phrase each; and the number of labels.
    """
    if not len(found):
        return (), 0
    distinct = np.unique(found.values)
    said = []
    if found.full:
        said.append("no pixel is 0, which is the background")
    elif (whole := _background(found)) is not None:
        said.append(f"label {whole} covers most of the image, all its sides: 0 is the background")
    if len(found) > len(distinct):
        said += _scattered(found, distinct, stored)
    return tuple(said), len(distinct)


def _background(found: Pieces) -> int | None:
    largest = int(found.areas.argmax())
    value = found.values[largest]
    most = found.areas[largest] > _BACKGROUND * found.size
    return int(value) if most and all((side == value).any() for side in found.sides) else None


def _scattered(found: Pieces, distinct: np.ndarray, stored: np.dtype) -> list[str]:
    """Say how many labels lie in pieces far apart, and what numbers are like that.

    Args:
        found: the pieces.
        distinct: the labels.
        stored: the dtype that they were stored in.
    """
    count, total = len(distinct), len(found)
    if total > max(_MANY, 4 * count):
        return [
            f"{count} numbers in {total} pieces: these are values of a picture, not labels, "
            "or many wrapped ones"
        ]
    of_piece = np.searchsorted(distinct, found.values)
    scattered = _in_far_pieces(found, count, of_piece)
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
    found: Pieces, count: int, of_piece: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Say of each label whether a main piece of it lies far from its largest."""
    areas, boxes, ndim = found.areas, found.boxes, found.ndim
    largest = np.zeros(count, np.int64)
    order = np.argsort(areas, kind="stable")
    largest[of_piece[order]] = order
    near = boxes[largest][of_piece]
    gaps = np.maximum(boxes[:, :ndim] - near[:, ndim:], near[:, :ndim] - boxes[:, ndim:])
    apart = gaps.max(axis=1)
    size = areas[largest][of_piece]
    diameter = 2 * np.sqrt(size / np.pi) if ndim == 2 else np.cbrt(6 * size / np.pi)
    far = (areas >= _MAIN * size) & (apart > np.maximum(_FAR_PX, _FAR_DIAMETERS * diameter))
    apart_labels = np.zeros(count, bool)
    apart_labels[of_piece[far]] = True
    return apart_labels
