"""Label images as runs: stretches of one label along a row, some ten times fewer than pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import thread_count

#: A part of this many pixels keeps a thread busy, and its runs take little memory even if each
#: pixel is one.
_PART_PIXELS = 1 << 20


@dataclass(frozen=True)
class Runs:
    """The runs of a label image `(Y, X)` in raster order, background included.

    Args:
        labels: the label of each run, in the image's dtype, `(R,)`.
        starts: its first pixel in the flattened image, `(R,)`.
        lengths: its pixels, int64 `(R,)`.
        y: its row, int64 `(R,)`.
        x: its first column, int64 `(R,)`.
    """

    labels: npt.NDArray
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    x: npt.NDArray[np.int64]

    @property
    def boxes(self) -> npt.NDArray[np.int64]:
        """Half-open bounding boxes y0, x0, y1, x1, `(R, 4)`."""
        return np.stack([self.y, self.x, self.y + 1, self.x + self.lengths], axis=1)


def find_runs(labels: npt.NDArray, other: npt.NDArray | None = None) -> Runs:
    """Cut a label image `(Y, X)` into runs; with another of its shape, where either changes.

    Example:
        >>> runs = find_runs(np.array([[0, 4, 4], [4, 4, 4]]))
        >>> runs.labels.tolist(), runs.lengths.tolist(), runs.x.tolist()
        ([0, 4, 4], [1, 2, 3], [0, 1, 0])
    """
    labels = np.ascontiguousarray(labels)
    starts = _starts(labels, labels if other is None else np.ascontiguousarray(other))
    lengths = np.diff(starts, append=labels.size)
    y, x = np.divmod(starts, max(1, labels.shape[1]))
    return Runs(labels.reshape(-1)[starts], starts, lengths, y, x)


def parts(rows: slice, width: int, least: int = 1) -> list[slice]:
    """Cut a band into parts for threads to work on.

    Args:
        rows: the band's rows.
        width: pixels of a row.
        least: no part has fewer rows, if there is more than one.
    """
    count = max(thread_count(), -(-(rows.stop - rows.start) * width // _PART_PIXELS))
    step = max(least, 1, -(-(rows.stop - rows.start) // count))
    return [slice(y, min(y + step, rows.stop)) for y in range(rows.start, rows.stop, step)]


@kernel
def _starts(one, other):  # type: ignore[no-untyped-def]
    height, width = one.shape
    count = 0
    for y in range(height):
        count += 1
        for x in range(1, width):
            count += (one[y, x] != one[y, x - 1]) | (other[y, x] != other[y, x - 1])
    found = np.empty(count if width else 0, np.int64)
    at = 0
    for y in range(height if width else 0):
        found[at] = y * width
        at += 1
        for x in range(1, width):
            if (one[y, x] != one[y, x - 1]) | (other[y, x] != other[y, x - 1]):
                found[at] = y * width + x
                at += 1
    return found
