"""Area, position and shape of every object, from integer sums that add up over tiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.measurement.runs import Runs
from cellmill.metrics.grouping import group_by

_ORTHOGONAL = ((-1, 0), (1, 0), (0, -1), (0, 1))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Regions:
    """What is summed up for each object, by ascending label.

    Args:
        labels: int64 `(N,)`.
        areas: pixels, int64 `(N,)`.
        boxes: half-open bounding boxes y0, x0, y1, x1 in pixels, int64 `(N, 4)`.
        moments: sums over the pixels of y, x, y², x², yx, int64 `(N, 5)`.
        outline: boundary pixels that count 1, √2 and (1+√2)/2 to the perimeter, int64 `(N, 3)`.
    """

    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    moments: npt.NDArray[np.int64]
    outline: npt.NDArray[np.int64]

    @property
    def centroids(self) -> npt.NDArray[np.float64]:
        """Mean y, x of the pixel centres, in pixels, `(N, 2)`."""
        return self.moments[:, :2] / self.areas[:, None]

    @property
    def perimeters(self) -> npt.NDArray[np.float64]:
        """Length of the line through the centres of the boundary pixels, in pixels, `(N,)`.

        Benkrid and Crookes 2000, "Design and FPGA Implementation of a Perimeter Estimator", with
        the 4-connected boundary, as in scikit-image's `perimeter`.
        """
        return self.outline @ np.array([1, np.sqrt(2), (1 + np.sqrt(2)) / 2])

    def axes(self, pixel: tuple[float, float] = (1.0, 1.0)) -> npt.NDArray[np.float64]:
        """Take major and minor axis of the ellipse with the object's second central moments.

        Args:
            pixel: size of a pixel along y and x.

        Returns:
            Full lengths in the unit of `pixel`, `(N, 2)`.
        """
        areas = self.areas
        sum_y, sum_x, sum_yy, sum_xx, sum_yx = self.moments.T
        # About a whole pixel near the centroid, so that nothing but small integers is subtracted;
        # int64 may wrap on the way, which leaves the small result right.
        near_y, near_x = sum_y // areas, sum_x // areas
        rest_y, rest_x = (sum_y - near_y * areas) / areas, (sum_x - near_x * areas) / areas
        about_yy = sum_yy - 2 * near_y * sum_y + areas * near_y**2
        about_xx = sum_xx - 2 * near_x * sum_x + areas * near_x**2
        about_yx = sum_yx - near_y * sum_x - near_x * sum_y + areas * near_y * near_x
        yy = (about_yy / areas - rest_y**2) * pixel[0] ** 2
        xx = (about_xx / areas - rest_x**2) * pixel[1] ** 2
        yx = (about_yx / areas - rest_y * rest_x) * pixel[0] * pixel[1]
        middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
        return 4 * np.sqrt(np.stack([middle + spread, np.maximum(middle - spread, 0)], axis=1))


def sum_regions(
    labels: npt.NDArray, runs: Runs, rows: slice, *, origin: tuple[int, int] = (0, 0)
) -> Regions:
    """Sum up the objects in some rows of a label image.

    Args:
        labels: labels `(Y, X)`; two rows beyond `rows` on each side, where the image has them.
        runs: the runs of `labels[rows]`.
        rows: the rows to sum up.
        origin: y, x in the whole image of the first pixel of `labels[rows]`.
    """
    real = runs.labels > 0
    y, x, length = runs.y[real] + origin[0], runs.x[real] + origin[1], runs.lengths[real]
    steps = length * (length - 1) // 2
    sum_x = length * x + steps
    sum_xx = length * x**2 + 2 * x * steps + steps * (2 * length - 1) // 3
    boxes = np.stack([y, x, y + 1, x + length], axis=1)
    moments = np.stack([length * y, sum_x, length * y**2, sum_xx, y * sum_x], axis=1)
    flat = _grouped(runs.labels[real], length, boxes, moments, np.zeros((len(length), 3), np.int64))
    return add_regions([flat, _outlines(labels, rows, flat)])


def add_regions(parts: Iterable[Regions]) -> Regions:
    """Add up the sums of disjoint parts of an image."""
    tables = list(parts)
    return _grouped(
        *(
            np.concatenate([np.empty(shape, np.int64), *(getattr(t, name) for t in tables)])
            for name, shape in (
                ("labels", (0,)),
                ("areas", (0,)),
                ("boxes", (0, 4)),
                ("moments", (0, 5)),
                ("outline", (0, 3)),
            )
        )
    )


def _grouped(
    labels: npt.NDArray,
    areas: npt.NDArray,
    boxes: npt.NDArray,
    moments: npt.NDArray,
    outline: npt.NDArray,
) -> Regions:
    groups = group_by(labels)
    return Regions(
        groups.keys,
        groups.sum(areas),
        np.concatenate([groups.min(boxes[:, :2]), groups.max(boxes[:, 2:])], axis=1),
        groups.sum(moments),
        groups.sum(outline),
    )


def _outlines(labels: npt.NDArray, rows: slice, inside: Regions) -> Regions:
    """Count the boundary pixels of each kind; an object's own pixels are its only neighbours."""
    padded = np.pad(labels, 2)
    first = rows.start
    window = padded[first + 1 : rows.stop + 3, 1:-1]
    border = window > 0
    border &= np.logical_or.reduce(
        [
            window != padded[first + 1 + dy : rows.stop + 3 + dy, 1 + dx : padded.shape[1] - 1 + dx]
            for dy, dx in _ORTHOGONAL
        ]
    )
    outline = np.where(border, window, 0)
    y, x = np.nonzero(border[1:-1, 1:-1])
    own = outline[y + 1, x + 1]

    def neighbours(offsets: tuple[tuple[int, int], ...]) -> npt.NDArray[np.int64]:
        return sum(
            (outline[y + 1 + dy, x + 1 + dx] == own).astype(np.int64) for dy, dx in offsets
        ) + np.zeros(len(own), np.int64)

    orthogonal, diagonal = neighbours(_ORTHOGONAL), neighbours(_DIAGONAL)
    code = 1 + 2 * orthogonal + 10 * diagonal
    kinds = np.stack(
        [
            np.isin(code, (5, 7, 15, 17, 25, 27)),
            np.isin(code, (21, 33)),
            np.isin(code, (13, 23)),
        ],
        axis=1,
    )
    groups = group_by(own.astype(np.int64))
    at = np.searchsorted(inside.labels, groups.keys)
    return Regions(
        groups.keys,
        np.zeros(len(at), np.int64),
        inside.boxes[at],
        np.zeros((len(at), 5), np.int64),
        groups.sum(kinds.astype(np.int64)),
    )
