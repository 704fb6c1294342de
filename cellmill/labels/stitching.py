"""Label images of the planes of a volume, joined into objects of the volume.

Objects of neighbouring planes are one where their overlap, intersection over union, is large
enough: the stitching that Cellpose calls `stitch_threshold` (Stringer et al., Nature Methods 18,
2021), written from a description of what it computes, or with a two-sided choice that keeps objects
apart where planes disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from cellmill.errors import BadInput
from cellmill.labels.numbering import CanonicalNumbers, checked_labels
from cellmill.labels.pairs import LabelPairs, pair_labels

Rule = Literal["right", "reference"]
#: Intersection over union from which objects of neighbouring planes are one.
STITCH_THRESHOLD = 0.25


def check_stitch_threshold(threshold: float) -> None:
    """Refuse a threshold that is no intersection over union, by BadInput."""
    if not 0 < threshold <= 1:
        raise BadInput("stitch_threshold", expected="above 0, up to 1", found=f"{threshold:g}")


def stitch_planes(
    planes: Iterable[np.ndarray], threshold: float = STITCH_THRESHOLD, rule: Rule = "right"
) -> np.ndarray:
    """Join the objects of neighbouring planes.

    Args:
        planes: label images `(Y, X)` of one shape, at least one; each has numbers of its own.
        threshold: intersection over union from which two objects are one, above 0.
        rule: `right`: two objects are one if each is the other's best; or `reference`, cellpose
            3.1.1.3's: an object goes on in the one of the next plane that overlaps it most, in
            both where two are equal, and several may go on in one; and until any objects were
            compared, a plane beside an empty one keeps its numbers, so that objects that lie apart
            may be one.

    Returns:
        int32 labels `(Z, Y, X)`, 1…n in raster order of first voxels.

    Raises:
        BadInput: the threshold is out of range, or planes are no label images.

    Example:
        >>> upper, lower = np.array([[1, 1, 1, 0]]), np.array([[0, 2, 2, 3]])
        >>> stitch_planes([upper, lower], 0.5).tolist()
        [[[1, 1, 1, 0]], [[0, 1, 1, 2]]]
    """
    stitched = [*stitched_planes(planes, threshold, rule)]
    if not stitched:
        raise BadInput("planes to stitch", expected="at least one", found="none")
    return np.stack(stitched)


def stitched_planes(
    planes: Iterable[np.ndarray], threshold: float = STITCH_THRESHOLD, rule: Rule = "right"
) -> Iterator[np.ndarray]:
    """Join the objects of neighbouring planes, two of which are held; see `stitch_planes`.

    Yields:
        int32 labels `(Y, X)`, a plane each.
    """
    check_stitch_threshold(threshold)
    before: np.ndarray | None = None
    highest, compared = 0, False
    canonical = CanonicalNumbers()
    for plane in planes:
        if plane.ndim != 2:
            raise BadInput("planes to stitch", expected="labels (Y, X)", found=f"{plane.shape}")
        labels = checked_labels(plane).astype(np.int64)
        count = int(labels.max(initial=0))
        overlap = before is not None and count > 0 and before.max(initial=0) > 0
        compared = compared or overlap
        if rule == "reference" and not compared:
            before, highest = labels, count
            yield canonical.of(before)
            continue
        numbers = np.zeros(count + 1, np.int64)
        if before is not None and overlap:
            pairs = pair_labels(before, labels)
            fits = pairs.ious >= threshold
            chosen = _mutual_best(pairs) & fits if rule == "right" else _going_on(pairs, fits)
            goes_on = pairs.predicted.labels[pairs.predicted_index[chosen]]
            numbers[goes_on] = pairs.truth.labels[pairs.truth_index[chosen]]
        new = 1 + np.flatnonzero(numbers[1:] == 0)
        numbers[new] = highest + 1 + np.arange(len(new))
        highest += len(new)
        before = numbers[labels]
        yield canonical.of(before)


def _mutual_best(pairs: LabelPairs) -> np.ndarray:
    """Which pairs are the best of both of their objects; of equals the first."""
    order = np.argsort(-pairs.ious, kind="stable")
    found = np.ones(len(pairs), bool)
    for index in (pairs.truth_index, pairs.predicted_index):
        found &= _first_of_each(index, order)
    return found


def _going_on(pairs: LabelPairs, fits: np.ndarray) -> np.ndarray:
    """Of the best pairs of each object before the best of each object after it."""
    ious = np.where(fits, pairs.ious, 0)
    best = np.zeros(len(pairs.truth))
    np.maximum.at(best, pairs.truth_index, ious)
    left = fits & (ious == best[pairs.truth_index])
    order = np.lexsort((pairs.truth_index, -np.where(left, ious, 0)))
    return left & _first_of_each(pairs.predicted_index, order)


def _first_of_each(index: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Which places of an index come first, in an order, of those of their value."""
    _, first = np.unique(index[order], return_index=True)
    found = np.zeros(len(index), bool)
    found[order[first]] = True
    return found
