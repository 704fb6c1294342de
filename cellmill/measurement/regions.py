"""Area, position and shape of every object, from integer sums that add up over tiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel
from cellmill.labels.grouping import group_by
from cellmill.labels.runs import find_runs

#: What a boundary pixel counts, by 1 + 2 for each neighbour on the boundary + 10 for each diagonal
#: one: 0 for 1, 1 for √2, 2 for (1+√2)/2, -1 for nothing.
_KINDS = np.full(50, -1, np.int64)
_KINDS[[5, 7, 15, 17, 25, 27]] = 0
_KINDS[[21, 33]] = 1
_KINDS[[13, 23]] = 2


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

    def __len__(self) -> int:
        return len(self.labels)

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


def sum_regions(labels: npt.NDArray, rows: slice, *, origin: tuple[int, int] = (0, 0)) -> Regions:
    """Sum up the objects in some rows of a label image.

    Args:
        labels: labels `(Y, X)`; two rows beyond `rows` on each side, where the image has them.
        rows: the rows to sum up.
        origin: y, x in the whole image of the first pixel of `labels[rows]`.
    """
    around = slice(max(rows.start - 2, 0), rows.stop + 2)
    window = np.ascontiguousarray(labels[around])
    first = rows.start - around.start
    runs = find_runs(window[first : first + rows.stop - rows.start])
    real = runs.labels > 0
    y, x, length = runs.y[real], runs.x[real], runs.lengths[real]
    groups = group_by(runs.labels[real])
    count = len(groups.keys)
    outline = np.zeros((count, 3), np.int64)
    _add_outlines(_borders(window), window, groups.index, y + first, x, length, _KINDS, outline)
    areas, moments = np.zeros(count, np.int64), np.zeros((count, 5), np.int64)
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, 0
    _add_runs(groups.index, y + origin[0], x + origin[1], length, areas, boxes, moments)
    return Regions(groups.keys, areas, boxes, moments, outline)


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


@kernel
def _add_runs(index, ys, xs, lengths, areas, boxes, moments):  # type: ignore[no-untyped-def]
    for run in range(len(index)):
        own, y, x, length = index[run], ys[run], xs[run], lengths[run]
        steps = length * (length - 1) // 2
        sum_x = length * x + steps
        areas[own] += length
        moments[own, 0] += length * y
        moments[own, 1] += sum_x
        moments[own, 2] += length * y * y
        moments[own, 3] += length * x * x + 2 * x * steps + steps * (2 * length - 1) // 3
        moments[own, 4] += y * sum_x
        boxes[own, 0] = min(boxes[own, 0], y)
        boxes[own, 1] = min(boxes[own, 1], x)
        boxes[own, 2] = max(boxes[own, 2], y + 1)
        boxes[own, 3] = max(boxes[own, 3], x + length)


@kernel
def _borders(labels):  # type: ignore[no-untyped-def]
    """Pixels with a 4-neighbour of another label, beyond the edge included, and a frame of none."""
    height, width = labels.shape
    found = np.zeros((height + 2, width + 2), np.bool_)
    for y in range(height):
        own, border = labels[y], found[y + 1]
        if y == 0 or y == height - 1:
            border[1 : width + 1] = True
        else:
            above, below = labels[y - 1], labels[y + 1]
            for x in range(width):
                border[x + 1] = (own[x] != above[x]) | (own[x] != below[x])
        for x in range(1, width):
            across = own[x] != own[x - 1]
            border[x] |= across
            border[x + 1] |= across
        border[1] = border[width] = True
    return found


@kernel
def _add_outlines(borders, labels, index, ys, xs, lengths, kinds, outline):  # type: ignore[no-untyped-def]
    """Count the boundary pixels of each kind; an object's own pixels are its only neighbours."""
    for run in range(len(index)):
        y = ys[run]
        for x in range(xs[run], xs[run] + lengths[run]):
            if not borders[y + 1, x + 1]:
                continue
            code = 1
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if dy == 0 and dx == 0:
                        continue
                    # The frame is no border, so that what is read of `labels` lies within.
                    near = borders[y + 1 + dy, x + 1 + dx]
                    if near and labels[y + dy, x + dx] == labels[y, x]:
                        code += 10 if dy and dx else 2
            if kinds[code] >= 0:
                outline[index[run], kinds[code]] += 1
