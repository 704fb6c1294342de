"""Local background: the median intensity of a ring of background pixels around each object.

A background pixel belongs to the ring of the object nearest to it (Euclidean, between pixel
centres; of equally near ones, that with the lowest label), if the distance is above the ring's
inner and at most its outer radius. Pixels of any object are never background. An object without
such a pixel, enclosed by others, has no local background.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.metrics.grouping import group_by

LABEL_BITS = 40


@dataclass(frozen=True)
class RingPixels:
    """Background pixels and the objects they surround; tables of disjoint tiles are joined.

    Args:
        labels: the object, int64 `(P,)`.
        values: the pixel's intensities, `(P, C)`.
    """

    labels: npt.NDArray[np.int64]
    values: npt.NDArray


def find_ring_pixels(
    image: npt.NDArray,
    labels: npt.NDArray,
    background: npt.NDArray[np.bool_],
    rows: slice,
    radii: tuple[int, int],
) -> RingPixels:
    """Find the ring pixels in some rows of an image.

    Args:
        image: `(Y, X, C)`, of `rows` only.
        labels: labels `(Y', X)`; the outer radius in rows beyond `rows`, where the image has them.
        background: pixels that may be background, `(Y', X)`.
        rows: the rows to look at.
        radii: inner and outer radius of the ring in pixels.
    """
    nearest, square = nearest_objects(labels, radii[1])
    ring = background[rows] & (nearest[rows] > 0) & (square[rows] > radii[0] ** 2)
    return RingPixels(nearest[rows][ring].astype(np.int64), image[ring])


def nearest_objects(
    labels: npt.NDArray, reach: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the object nearest to each pixel, up to a distance.

    First along rows, then over rows, each time the least (distance², label): exact, and, unlike a
    distance transform with its own order of ties, the same for any tiling with a halo of `reach`.

    Args:
        labels: `(Y, X)`, below 2^40.
        reach: the greatest distance in pixels.

    Returns:
        The nearest object's label, 0 where none is in reach, and the square of its distance, both
        `(Y, X)`, int32 where that is enough, else int64.

    Example:
        >>> nearest, square = nearest_objects(np.array([[7, 0, 0, 0, 3]]), 2)
        >>> nearest.tolist(), square.tolist()
        ([[7, 7, 3, 3, 3]], [[0, 1, 4, 1, 0]])
    """
    height, width = labels.shape
    # One integer orders by (distance², label); 32 bits of it are twice as fast where they do.
    bits = int(labels.max(initial=0)).bit_length()
    dtype = np.int32 if (2 * reach**2 + 2) << bits < 1 << 31 else np.int64
    beyond = dtype((reach**2 + 1) << bits)
    columns = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(labels > 0, columns, np.int32(-1)), axis=1)
    right = np.where(labels > 0, columns, np.int32(width))
    right = np.minimum.accumulate(right[:, ::-1], axis=1)[:, ::-1]
    in_row = np.full((height, width), beyond)
    for at, is_there in ((left, left >= 0), (right, right < width)):
        distance = np.abs(columns - at)
        near = is_there & (distance <= reach)
        y, x = np.nonzero(near)
        key = distance[near].astype(dtype) ** 2 << bits
        key |= labels[y, at[near]].astype(dtype)
        in_row[y, x] = np.minimum(in_row[y, x], key)
    best = in_row.copy()
    for dy in range(1, min(reach, height - 1) + 1):
        step = dtype(dy**2 << bits)
        np.minimum(best[dy:], in_row[:-dy] + step, out=best[dy:])
        np.minimum(best[:-dy], in_row[dy:] + step, out=best[:-dy])
    square = best >> bits
    return np.where(square <= reach**2, best & dtype((1 << bits) - 1), 0), square


def ring_medians(
    labels: npt.NDArray[np.int64], parts: Iterable[RingPixels], n_channels: int
) -> npt.NDArray[np.float64]:
    """Take the median of each object's ring in each channel.

    Args:
        labels: the objects, ascending, `(N,)`.
        parts: ring pixels of the disjoint parts of an image.
        n_channels: C.

    Returns:
        Medians `(N, C)`, NaN for an object without a ring.
    """
    tables = list(parts)
    medians = np.full((len(labels), n_channels), np.nan)
    of_pixel = np.concatenate([np.empty(0, np.int64), *(part.labels for part in tables)])
    if not len(of_pixel):
        return medians
    groups = group_by(of_pixel)
    at = np.searchsorted(labels, groups.keys)
    middle = groups.starts + (groups.counts() - 1) // 2
    other = groups.starts + groups.counts() // 2
    for c in range(n_channels):
        values = np.concatenate([part.values[:, c] for part in tables])
        ordered = _sorted_within(values, of_pixel, groups.index())
        medians[at, c] = (ordered[middle] + ordered[other]) / 2
    return medians


def _sorted_within(
    values: npt.NDArray, of_pixel: npt.NDArray, group: npt.NDArray
) -> npt.NDArray[np.float64]:
    """Sort by group, then by value; 16-bit images by one integer key, five times as fast."""
    if values.dtype.kind in "bu" and values.dtype.itemsize <= 2:
        return (np.sort(group << 16 | values.astype(np.int64)) & 0xFFFF).astype(np.float64)
    return values[np.lexsort((values, of_pixel))].astype(np.float64)
