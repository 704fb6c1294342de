"""Boundary F: how much of the outlines lies where outlines should be.

After Martin et al. 2004 (IEEE PAMI 26, 530) and Csurka et al. 2013 (BMVC), with objects instead of
classes: a pixel of an object is a boundary pixel when one of its four neighbours has another label
(background included; the image's own edge is no neighbour, so an object cut off there has no
boundary along the cut). A boundary pixel is matched when a boundary pixel of the other image lies
within `tolerance_px` (Euclidean, between pixel centres). Precision is the matched share of the
predicted boundary, recall that of the true one, F their harmonic mean.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.labels.pairs import MEMORY_MIB, check_pair, read_pair
from cellmill.labels.runs import parts
from cellmill.metrics.counts import count, f_score, ratio, setting


@dataclass(frozen=True)
class Boundary:
    """Boundary pixels of both images, and those near the other's."""

    tolerance_px: float = setting("pixels of this distance and closer match")
    truth_pixels: int = count("boundary pixels of the true objects")
    truth_matched: int = count("of these, near a predicted boundary")
    predicted_pixels: int = count("boundary pixels of the predicted objects")
    predicted_matched: int = count("of these, near a true boundary")

    @property
    def both_empty(self) -> bool:
        """Neither image has a boundary."""
        return self.truth_pixels + self.predicted_pixels == 0

    @property
    def precision(self) -> float:
        """The share of the predicted boundary that is matched."""
        return ratio(self.predicted_matched, self.predicted_pixels, both_empty=self.both_empty)

    @property
    def recall(self) -> float:
        """The share of the true boundary that is matched."""
        return ratio(self.truth_matched, self.truth_pixels, both_empty=self.both_empty)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return f_score(self.precision, self.recall)

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores, ready for JSON."""
        return {
            **asdict(self),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


def match_boundaries(
    truth: Windowed,
    predicted: Windowed,
    *,
    tolerance_px: float = 2.0,
    memory_mib: float = MEMORY_MIB,
) -> Boundary:
    """Count boundary pixels, reading both label images in bands of rows with a halo.

    Args:
        truth: true labels `(Y, X)`.
        predicted: predicted labels of the same shape.
        tolerance_px: how far apart two boundaries may lie, in pixels, 0 to 100.
        memory_mib: what this may take.

    Raises:
        BadInput: the tolerance is out of range, or the arrays are no two label images of a shape.

    Example:
        >>> truth = np.zeros((9, 9), int)
        >>> truth[2:7, 2:7] = 1
        >>> match_boundaries(truth, np.roll(truth, 1, axis=1), tolerance_px=1).f1
        1.0
    """
    check_pair(truth, predicted)
    matcher = BoundaryMatcher(tolerance_px)
    counts = np.zeros(4, np.int64)
    for band, true, pred in read_pair(truth, predicted, memory_mib=memory_mib, halo=matcher.halo):
        rows = parts(band.inner, true.shape[1], least=4 * matcher.halo)
        counts += sum(in_threads(partial(matcher.counts, true, pred), rows))
    return matcher.result(counts)


class BoundaryMatcher:
    """Counts boundary pixels of parts of two label images; the counts add up.

    Args:
        tolerance_px: how far apart two boundaries may lie, in pixels, 0 to 100.

    Raises:
        BadInput: the tolerance is out of range.
    """

    def __init__(self, tolerance_px: float) -> None:
        check_tolerance(tolerance_px)
        self._tolerance = float(tolerance_px)
        self._disk = disk(tolerance_px)

    @property
    def halo(self) -> int:
        """Rows around a part that decide about its pixels."""
        return self._disk.shape[0] // 2 + 1

    def counts(
        self, truth: npt.NDArray, predicted: npt.NDArray, rows: slice
    ) -> npt.NDArray[np.int64]:
        """Count in some rows of two arrays `(Y, X)` that show the halo, where the image has it.

        Returns:
            True boundary pixels, those matched, and the same of the predicted, int64 `(4,)`.
        """
        around = slice(max(0, rows.start - self.halo), rows.stop + self.halo)
        inner = slice(rows.start - around.start, rows.stop - around.start)
        lines = boundary_mask(truth[around]), boundary_mask(predicted[around])
        return np.array(
            [
                np.count_nonzero(part[inner])
                for line, other in (lines, lines[::-1])
                for part in (line, line & dilated(other, self._disk))
            ],
            np.int64,
        )

    def result(self, counts: npt.NDArray[np.int64]) -> Boundary:
        """Name the sums of all parts' counts."""
        return Boundary(self._tolerance, *(int(value) for value in counts))


def check_tolerance(tolerance_px: float) -> None:
    """Refuse a tolerance that is not from 0 to 100 px, by BadInput."""
    if not 0 <= tolerance_px <= 100:
        raise BadInput("the boundary tolerance", expected="0 to 100 px", found=f"{tolerance_px}")


def boundary_mask(labels: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Mark the pixels of objects that have a 4-neighbour with another label, `(Y, X)`.

    Example:
        >>> boundary_mask(np.array([[1, 1, 2, 0, 0]])).astype(int).tolist()
        [[0, 1, 1, 0, 0]]
    """
    mask = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    mask[1:] |= down
    mask[:-1] |= down
    across = labels[:, 1:] != labels[:, :-1]
    mask[:, 1:] |= across
    mask[:, :-1] |= across
    return mask & (labels > 0)


def dilated(mask: npt.NDArray[np.bool_], around: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Mark what lies around marked pixels `(Y, X)`, as a `disk` says."""
    if not mask.size:
        return mask
    return cv2.dilate(mask.astype(np.uint8), around).astype(bool)


def disk(radius: float) -> npt.NDArray[np.uint8]:
    """Pixels of a square, uint8, 1 where they are within a radius of its middle."""
    reach = int(radius)
    steps = np.arange(-reach, reach + 1)
    return (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).astype(np.uint8)
