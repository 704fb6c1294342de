"""Label images as runs: stretches of one label along a row, some twenty times fewer than pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BAND_PIXELS = 1 << 20


@dataclass(frozen=True)
class Runs:
    """The runs of a label image `(Y, X)` in raster order, background included.

    Args:
        labels: the label of each run, int64 `(R,)`.
        starts: its first pixel in the flattened image, `(R,)`.
        lengths: its pixels, int64 `(R,)`.
        y: its row, int64 `(R,)`.
        x: its first column, int64 `(R,)`.
    """

    labels: npt.NDArray[np.int64]
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    x: npt.NDArray[np.int64]


def find_runs(labels: npt.NDArray) -> Runs:
    """Cut a label image `(Y, X)` into runs.

    Example:
        >>> runs = find_runs(np.array([[0, 4, 4], [4, 4, 4]]))
        >>> runs.labels.tolist(), runs.lengths.tolist(), runs.x.tolist()
        ([0, 4, 4], [1, 2, 3], [0, 1, 0])
    """
    width = max(1, labels.shape[1])
    flat = labels.ravel()
    is_start = np.ones(flat.size, bool)
    is_start[1:] = flat[1:] != flat[:-1]
    is_start[::width] = True
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=flat.size).astype(np.int64)
    y, x = np.divmod(starts.astype(np.int64), width)
    return Runs(flat[starts].astype(np.int64), starts, lengths, y, x)


def bands(shape: tuple[int, int], halo: int) -> Iterator[tuple[slice, slice]]:
    """Cut an image into bands of about a million pixels, rows enough for the halo to cost little.

    Args:
        shape: Y, X of the image.
        halo: rows above and below that the work on a band also looks at.

    Yields:
        The rows to read, halo included where the image has it, and the band's own rows in these.

    Example:
        >>> list(bands((9, 1 << 20), 1))[1]
        (slice(3, 9, None), slice(1, 5, None))
    """
    height, width = shape
    rows = max(1, 4 * halo, BAND_PIXELS // max(1, width))
    for y in range(0, height, rows):
        top = max(0, y - halo)
        bottom = min(height, y + rows + halo)
        yield slice(top, bottom), slice(y - top, min(height, y + rows) - top)
