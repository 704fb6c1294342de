"""Star-convex polygons drawn as labels."""

from __future__ import annotations

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.compute.kernels import kernel
from cellmill.segmentation.stardist.candidates import Candidates

#: A corner so near the middle of a pixel lies on it, pixels.
_SAME = 1e-12


def draw(objects: Candidates, numbers: np.ndarray, out: np.ndarray, window: Box) -> None:
    """Draw polygons into a window of the image, the likeliest on top.

    A pixel belongs to a polygon if its middle lies within it or on its outline. Of polygons of one
    probability the last in raster order lies on top, as in StarDist.

    Args:
        objects: their polygons, in any order.
        numbers: `(N,)`, what each is drawn with.
        out: `(Y, X)` integers, what the window shows; drawn on.
        window: in pixels of the image.
    """
    order = np.lexsort((objects.x, objects.y, objects.score))
    ys, xs = corners(objects)
    _draw(ys, xs, order, numbers, out, window.y0, window.x0)


def corners(objects: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the polygons' corners, `(N, R)` float32 each, not cut to whole pixels."""
    rays = objects.rays.shape[1]
    angles = np.linspace(0, 2 * np.pi, rays, endpoint=False)
    rows, columns = (
        ((objects.rays * turn).astype(np.float32) + centre[:, None]).astype(np.float32)
        for turn, centre in ((np.sin(angles), objects.y), (np.cos(angles), objects.x))
    )
    return rows, columns


@kernel
def _draw(ys, xs, order, numbers, out, window_y, window_x):  # type: ignore[no-untyped-def]
    height, width = out.shape
    count = ys.shape[1]
    to_right, to_left = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in order:
        number = numbers[i]
        first = max(int(np.ceil(ys[i].min())), window_y)
        last = min(int(np.floor(ys[i].max())), window_y + height - 1)
        if xs[i].max() < window_x or xs[i].min() > window_x + width - 1:
            continue
        for row in range(first, last + 1):
            line = out[row - window_y]
            # Twice: edges that end on the row are counted with the rows above it, then below it.
            rights, lefts = _crossings(ys[i], xs[i], row, to_right, to_left)
            for k in range(rights - 1, -1, -2):
                start = to_right[k - 1] + 1 if k else window_x
                _span(line, start, to_right[k], window_x, number)
            for k in range(0, lefts - 1, 2):
                _span(line, to_left[k], to_left[k + 1] - 1, window_x, number)
        for k in range(count):
            y, x = np.round(ys[i, k]), np.round(xs[i, k])
            if abs(ys[i, k] - y) < _SAME and abs(xs[i, k] - x) < _SAME:
                row, column = int(y) - window_y, int(x) - window_x
                if 0 <= row < height and 0 <= column < width:
                    out[row, column] = number


@kernel
def _span(line, first, last, origin, number):  # type: ignore[no-untyped-def]
    for column in range(max(first - origin, 0), min(last - origin, len(line) - 1) + 1):
        line[column] = number


@kernel
def _crossings(ys, xs, row, to_right, to_left):  # type: ignore[no-untyped-def]
    """Where a polygon's edges cross a row, in whole columns, sorted.

    Gives how many columns' edges there are of each kind, and fills `to_right` with the last column
    that an edge is to the right of, `to_left` with the first that it is to the left of.
    """
    rights, lefts = 0, 0
    last = len(ys) - 1
    for k in range(len(ys)):
        y0, y1 = np.float64(ys[last]) - row, np.float64(ys[k]) - row
        above, below = (y0 > 0) != (y1 > 0), (y0 < 0) != (y1 < 0)
        if above or below:
            x0, x1 = np.float64(xs[last]), np.float64(xs[k])
            near = int(np.floor((x0 * y1 - x1 * y0) / (y1 - y0)))
            if above:
                column = near + 1
                while ((x0 - column) * y1 - (x1 - column) * y0) / (y1 - y0) <= 0:
                    column -= 1
                _insert(to_right, rights, column)
                rights += 1
            if below:
                column = near - 1
                while ((x0 - column) * y1 - (x1 - column) * y0) / (y1 - y0) >= 0:
                    column += 1
                _insert(to_left, lefts, column)
                lefts += 1
        last = k
    return rights, lefts


@kernel
def _insert(values, count, value):  # type: ignore[no-untyped-def]
    place = count
    while place > 0 and values[place - 1] > value:
        values[place] = values[place - 1]
        place -= 1
    values[place] = value
