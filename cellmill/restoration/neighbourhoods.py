"""Medians, minima and maxima over balls of any radius, in memory that does not grow with it.

SciPy's filters keep a table of every neighbour for every place at the rim, which is the square of
a ball's voxels: at a radius of 15 in a volume more than 3 GiB. Here a ball is rows: a median goes
along an image's rows with a histogram of ranks, from which one end of each row is taken and to
which the other is added (T. S. Huang, G. J. Yang and G. Y. Tang, IEEE Trans. Acoust. Speech Signal
Process. 27 (1979) 13); an extreme over a row of any length is that of two rows whose length is a
power of 2. The results are SciPy's, to the bit. Beyond its rim an image is mirrored, its last voxel
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput

#: Ranks of a block of the histogram, as bits; rows of an image that a thread takes at once.
_BITS, _ROWS = 8, 32
#: Balls of this radius are never refused; larger ones where they are larger than the image.
_RADIUS = 100


def check_radius(name: str, radius: float, shape: Sequence[int]) -> None:
    """Refuse a ball that is larger than the image.

    Raises:
        BadInput: it is, and larger than 100 pixels.
    """
    most = max(_RADIUS, *shape)
    if radius > most:
        raise BadInput(name, expected=f"at most {most} pixels", found=f"{radius:g}")


def median(image: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """The median over a ball around each voxel.

    Args:
        image: float32 `(Y, X)` or `(Z, Y, X)`, finite.
        radii: of the ball along each axis, voxels.

    Returns:
        float32 of the image's shape.
    """
    values, ranks = np.unique(image, return_inverse=True)
    volume = _volume(ranks.reshape(image.shape).astype(np.int32))
    rows, reach = ball_rows(radii)
    mirrors = _mirrors(volume.shape, reach)
    out = np.empty(volume.shape, np.int32)
    count = int((2 * rows[:, 2] + 1).sum())

    def part(band: tuple[int, int]) -> None:
        _median(volume, rows, mirrors, reach[2], count // 2, len(values), out, *band)

    _shared(part, volume.shape)
    found: np.ndarray = values[out].reshape(image.shape)
    return found


def opened(image: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """The grey opening by a ball: the minimum over it, and of that the maximum.

    Args:
        image: float32 `(Y, X)` or `(Z, Y, X)`, finite.
        radii: of the ball along each axis, voxels.

    Returns:
        float32 of the image's shape.
    """
    # A maximum is the minimum of what is below 0 instead.
    return -_lowest(-_lowest(image, radii), radii)


def _lowest(image: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    volume = _volume(image)
    rows, reach = ball_rows(radii)
    mirrors = _mirrors(volume.shape, reach)
    out = np.full(volume.shape, np.inf, np.float32)
    widest = int(2 * rows[:, 2].max() + 1)

    def part(band: tuple[int, int]) -> None:
        _minimum(volume, rows, mirrors, reach[2], widest.bit_length(), out, *band)

    _shared(part, volume.shape)
    return out.reshape(image.shape)


def _volume(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.reshape((1,) * (3 - image.ndim) + image.shape))


def ball_rows(radii: Sequence[float]) -> tuple[np.ndarray, tuple[int, ...]]:
    """The voxels within an ellipsoid of these half axes, as rows along the last axis.

    Args:
        radii: of two axes or three, voxels.

    Returns:
        int64 `(N, 3)`, a row each: how far from the middle it lies along Z and Y, and how far it
        goes to either side; and how far all reach along each of three axes.
    """
    # A radius of 3 along a coarse axis may have come to 2.9999999999999996.
    sizes = [round(radius, 6) for radius in (0.0,) * (3 - len(radii)) + tuple(radii)]
    reach = tuple(map(int, sizes))
    parts = [
        (np.arange(-far, far + 1) / max(size, 0.5)) ** 2
        for far, size in zip(reach, sizes, strict=True)
    ]
    found = []
    for z, along in enumerate(parts[0]):
        lengths = ((along + parts[1])[:, None] + parts[2] <= 1).sum(axis=1)
        y = np.flatnonzero(lengths)
        found.append(np.stack([np.full_like(y, z - reach[0]), y - reach[1], lengths[y] // 2], 1))
    return np.concatenate(found).astype(np.int64), reach


def _mirrors(shape: Sequence[int], reach: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Which voxel stands for each place of an axis, from as far before its beginning as behind."""
    found = []
    for side, far in zip(shape, reach, strict=True):
        place = np.arange(-far, side + far) % (2 * side)
        found.append(np.minimum(place, 2 * side - 1 - place))
    return tuple(found)


def _shared(part: Callable[[tuple[int, int]], Any], shape: Sequence[int]) -> None:
    """Work on bands of the rows of all planes, laid one below the other."""
    rows = shape[0] * shape[1]
    cuts = [(a, min(a + _ROWS, rows)) for a in range(0, rows, _ROWS)]
    in_threads(part, cuts, thread_count())


@kernel
def _median(ranks, rows, mirrors, reach, middle, count, out, start, stop):  # type: ignore[no-untyped-def]
    """Write the rank of the median for some rows of all planes."""
    height, width = ranks.shape[1], ranks.shape[2]
    over_z, over_y, over_x = mirrors
    far_z, far_y = (len(over_z) - ranks.shape[0]) // 2, (len(over_y) - height) // 2
    fine = np.zeros(count, np.int32)
    coarse = np.zeros((count >> _BITS) + 1, np.int32)
    for row in range(start, stop):
        z, y = row // height, row % height
        fine[:] = 0
        coarse[:] = 0
        # Of the blocks of ranks, `below` voxels lie in those before `block`.
        block, below = 0, 0
        for x in range(width):
            for k in range(len(rows)):
                there = ranks[over_z[far_z + z + rows[k, 0]], over_y[far_y + y + rows[k, 1]]]
                half = rows[k, 2]
                first = x + half if x else -half
                for i in range(first, x + half + 1):
                    rank = there[over_x[reach + i]]
                    fine[rank] += 1
                    coarse[rank >> _BITS] += 1
                    below += (rank >> _BITS) < block
                if x:
                    rank = there[over_x[reach + x - half - 1]]
                    fine[rank] -= 1
                    coarse[rank >> _BITS] -= 1
                    below -= (rank >> _BITS) < block
            while below > middle:
                block -= 1
                below -= coarse[block]
            while below + coarse[block] <= middle:
                below += coarse[block]
                block += 1
            rank, before = block << _BITS, below
            while before + fine[rank] <= middle:
                before += fine[rank]
                rank += 1
            out[z, y, x] = rank
    return 0


@kernel
def _minimum(image, rows, mirrors, reach, levels, out, start, stop):  # type: ignore[no-untyped-def]
    """Write the minimum for some rows of all planes."""
    height, width = image.shape[1], image.shape[2]
    over_z, over_y, over_x = mirrors
    far_z, far_y = (len(over_z) - image.shape[0]) // 2, (len(over_y) - height) // 2
    table = np.empty((levels, width + 2 * reach), np.float32)
    for row in range(start, stop):
        z, y = row // height, row % height
        lowest = out[z, y]
        for k in range(len(rows)):
            there = image[over_z[far_z + z + rows[k, 0]], over_y[far_y + y + rows[k, 1]]]
            half = rows[k, 2]
            begin = reach - half
            # Minima of stretches of 1, 2, 4 … voxels, each written where it begins.
            level, length = 0, 1
            here = table[0]
            for i in range(begin, reach + width + half):
                here[i] = there[over_x[i]]
            while 2 * length <= 2 * half + 1:
                following = table[level + 1]
                for i in range(begin, reach + width + half - 2 * length + 1):
                    one, other = here[i], here[i + length]
                    following[i] = one if one < other else other
                level, length, here = level + 1, 2 * length, following
            shift = 2 * half + 1 - length
            for x in range(width):
                one, other = here[begin + x], here[begin + x + shift]
                least = one if one < other else other
                lowest[x] = least if least < lowest[x] else lowest[x]
    return 0
