"""How well the classes of pixels are told: a confusion matrix, and what follows from it.

Dice and IoU of a class are those of its pixels; the boundary F is that of
`cellmill.metrics.boundary`, with the class as the one object; in volumes that of its surface.
Pixels that the truth does not label do not count; a boundary is measured where a truth labels every
pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.labels.pairs import MEMORY_MIB, check_pair, read_pair
from cellmill.labels.runs import parts
from cellmill.metrics.boundary import Boundary, BoundaryMatcher
from cellmill.metrics.counts import add_counts, counts_from, ratio
from cellmill.metrics.volume_classes import Pair, Places, count_classes

FORMAT = "cellmill-class-metrics/1"


def evaluate_classes(
    truth: Windowed,
    predicted: Windowed,
    classes: Mapping[str, int],
    *,
    boundary_tolerance_px: float = 2.0,
    spacing: Sequence[float] | None = None,
    memory_mib: float = MEMORY_MIB,
) -> dict[str, Any]:
    """Score an image or a volume of classes against the true one, reading both by parts.

    Args:
        truth: `(Y, X)` or `(Z, Y, X)` integer, the value of each pixel's class; 0 is not labelled,
            unless it is a class.
        predicted: the same, of which every pixel has a class.
        classes: the value of each, by its name.
        boundary_tolerance_px: how far apart two boundaries may lie, in pixels (of a plane).
        spacing: of a volume's voxels along Z, Y and X, in any unit: boundaries are surfaces, and
            what lies apart across planes counts as far as it is. None takes voxels as cubes.
        memory_mib: what this may take.

    Returns:
        A dictionary ready for JSON: `pixels` that are labelled and those `unlabelled`; `confusion`,
        a row a true class and a column a predicted one, in the order of `classes`; `accuracy`, the
        share of labelled pixels that are right; `mean_dice` and `mean_iou` over the classes that
        are there; and `by_class` each with `dice`, `iou`, `precision`, `recall` and `boundary`.

    Raises:
        BadInput: the shapes differ, an array is no label image, or a value is of no class.

    Example:
        >>> truth, found = np.array([[1, 1, 2, 2]]), np.array([[1, 2, 2, 2]])
        >>> scores = evaluate_classes(truth, found, {"background": 1, "nuclear": 2})
        >>> scores["confusion"], scores["accuracy"], scores["by_class"]["nuclear"]["dice"]
        ([[1, 1], [0, 2]], 0.75, 0.8)
    """
    check_pair(truth, predicted, volumes=True)
    matcher = BoundaryMatcher(boundary_tolerance_px)
    values = np.array([*classes.values()], np.int64)

    def pair_of(true: npt.NDArray, found: npt.NDArray) -> Pair:
        return (
            _places(true, values, "truth", unlabelled=0 not in values),
            _places(found, values, "predicted classes", unlabelled=False),
        )

    if len(truth.shape) == 3:
        depth = spacing[0] / math.sqrt(spacing[1] * spacing[2]) if spacing else 1.0
        confusion, outlines = count_classes(
            (truth, predicted), pair_of, len(values), boundary_tolerance_px, depth, memory_mib
        )
    else:
        confusion, outlines = _count_in_image(
            (truth, predicted), pair_of, len(values), matcher, memory_mib
        )
    unlabelled = int(confusion[0].sum())
    boundaries = [matcher.result(each) for each in outlines] if not unlabelled else None
    return _result([*classes], confusion[1:], unlabelled, boundaries)


def _count_in_image(
    images: tuple[Windowed, Windowed],
    pair_of: Places,
    classes: int,
    matcher: BoundaryMatcher,
    memory_mib: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Confusion and boundary pixels of an image; see `count_classes`, of volumes."""
    confusion = np.zeros((classes + 1, classes), np.int64)
    outlines = np.zeros((classes, 4), np.int64)
    for band, true, found in read_pair(*images, memory_mib=memory_mib, halo=matcher.halo):
        rows = parts(band.inner, true.shape[1], least=4 * matcher.halo)
        work = partial(_counts, matcher, *pair_of(true, found), classes)
        for matrix, lines in in_threads(work, rows):
            confusion += matrix
            outlines += lines
    return confusion, outlines


def pool_classes(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the results of several images together: their pixels, added up.

    Boundaries are those of the images that are labelled whole.

    Args:
        results: what `evaluate_classes` gave for each, of the same classes.

    Raises:
        BadInput: there are none, or of different classes.
    """
    if not results:
        raise BadInput("the results to pool", expected="at least one", found="none")
    names = [*results[0]["by_class"]]
    for each in results:
        if [*each["by_class"]] != names:
            found = ", ".join(each["by_class"])
            raise BadInput("the results to pool", expected=", ".join(names), found=found)
    confusion = sum(np.array(each["confusion"], np.int64) for each in results)
    whole = [each for each in results if not each["unlabelled"]]
    boundaries = [
        add_counts(counts_from(Boundary, each["by_class"][name]["boundary"]) for each in whole)
        for name in names
        if whole
    ]
    unlabelled = sum(each["unlabelled"] for each in results)
    return {
        "images": len(results),
        **_result(names, np.asarray(confusion), unlabelled, boundaries or None),
    }


def _places(
    labels: npt.NDArray, values: npt.NDArray[np.int64], what: str, unlabelled: bool
) -> npt.NDArray[np.int32]:
    """The place of each pixel's class from 1 on; 0 is not labelled."""
    there, where = np.unique(labels, return_inverse=True)
    order = np.argsort(values)
    at = np.searchsorted(values[order], there).clip(0, len(values) - 1)
    known = values[order][at] == there
    places = np.where(known, order[at] + 1, 0)
    if unlabelled:
        known |= there == 0
    if not known.all():
        expected = f"classes {', '.join(map(str, values))}" + (" or 0" if unlabelled else "")
        raise BadInput(what, expected=expected, found=f"{there[~known][0]}")
    found: npt.NDArray[np.int32] = places.astype(np.int32)[where].reshape(labels.shape)
    return found


def _counts(
    matcher: BoundaryMatcher,
    truth: npt.NDArray[np.int32],
    predicted: npt.NDArray[np.int32],
    classes: int,
    rows: slice,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The confusion of some rows, unlabelled pixels first, and boundary pixels of each class."""
    pairs = truth[rows].astype(np.int64) * classes + predicted[rows] - 1
    matrix = np.bincount(pairs.ravel(), minlength=(classes + 1) * classes)
    lines = [
        matcher.counts((truth == k).astype(np.uint8), (predicted == k).astype(np.uint8), rows)
        for k in range(1, classes + 1)
    ]
    return matrix.reshape(classes + 1, classes), np.array(lines, np.int64)


def _result(
    names: Sequence[str],
    confusion: npt.NDArray[np.int64],
    unlabelled: int,
    boundaries: Sequence[Boundary] | None,
) -> dict[str, Any]:
    right = np.diag(confusion)
    true, found = confusion.sum(1), confusion.sum(0)
    there = [k for k in range(len(names)) if true[k] + found[k]]
    by_class = {}
    for k, name in enumerate(names):
        empty = k not in there
        by_class[name] = {
            "truth_pixels": int(true[k]),
            "predicted_pixels": int(found[k]),
            "dice": ratio(2 * right[k], true[k] + found[k], both_empty=empty),
            "iou": ratio(right[k], true[k] + found[k] - right[k], both_empty=empty),
            "precision": ratio(right[k], found[k], both_empty=empty),
            "recall": ratio(right[k], true[k], both_empty=empty),
            "boundary": boundaries[k].to_dict() if boundaries else None,
        }
    means = {
        f"mean_{score}": (
            float(np.mean([by_class[names[k]][score] for k in there])) if there else None
        )
        for score in ("dice", "iou")
    }
    total = int(confusion.sum())
    return {
        "format": FORMAT,
        "pixels": total,
        "unlabelled": unlabelled,
        "accuracy": ratio(int(right.sum()), total, both_empty=total == 0),
        **means,
        "confusion": confusion.tolist(),
        "by_class": by_class,
    }
