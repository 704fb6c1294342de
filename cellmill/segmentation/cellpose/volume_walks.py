"""Where each voxel of a cell ends up that follows the flows; see `walks` for images.

By rule `right` a walk is that of `walks` with a third axis. By rule `reference` it is cellpose
3.1.1.3's: positions run from -1 to 1 over the centres of the first and last voxel, but the field is
read as if that were their outer faces, and is 0 beyond; all in single precision. Where it ends so
depends on the size of the volume.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.segmentation.cellpose.ends import NONE
from cellmill.segmentation.cellpose.positions import inwards, outwards
from cellmill.segmentation.cellpose.walks import PART

#: Steps from one position that is kept to the next: so many, and this part of those gone.
_KEPT_EACH, _KEPT_PART = 4, 4
_INT32_VOXELS = 2**31
_ONE, _TWO = np.float32(1), np.float32(2)


def follow_volume(
    flows: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    count: int,
    rule: Literal["right", "reference"],
) -> np.ndarray:
    """Walk from every voxel of a cell.

    Args:
        flows: `(Z, Y, X, 3)`, in the order of the axes, five times a step.
        probability: `(Z, Y, X)`.
        threshold: voxels above it are cells.
        count: steps of a walk.
        rule: how the field is read between voxels. Along an axis of one voxel, on which the
            reference divides by nothing, nothing moves.

    Returns:
        `(Z, Y, X)` int32, or int64 from 2³¹ voxels on: the place, in the volume laid flat, that a
        walk ended in; `NONE` where there is no cell.
    """
    cells = probability.astype(np.float32, copy=False) > np.float32(threshold)
    steps = np.empty(flows.shape, np.float32)
    np.divide(flows.astype(np.float32, copy=False), PART, out=steps)
    steps *= cells[..., np.newaxis]
    walk = _walk_right
    if rule == "reference":
        walk = _walk_reference
        for axis, side in enumerate(probability.shape):
            steps[..., axis] *= np.float32(2.0 / (side - 1)) if side > 1 else np.float32(0)
    ends = np.full(probability.size, NONE, np.int32 if cells.size < _INT32_VOXELS else np.int64)
    places = np.flatnonzero(cells)

    def part(band: tuple[int, int]) -> None:
        walk(steps, places[slice(*band)], count, ends)

    in_threads(part, bands(len(places), 4096, per_thread=4))
    return ends.reshape(probability.shape)


@kernel
def _walk_right(steps, places, count, ends):  # type: ignore[no-untyped-def]
    deep, high, wide = steps.shape[:3]
    zero = np.float32(0)
    most_z, most_y, most_x = np.float32(deep - 1), np.float32(high - 1), np.float32(wide - 1)
    for place in places:
        row, column = divmod(place, wide)
        z, y, x = np.float32(row // high), np.float32(row % high), np.float32(column)
        kept_z, kept_y, kept_x = z, y, x
        kept, keep_next, t, last, found = 0, 0, 0, count, False
        while t < last:
            if t == keep_next and not found:
                kept_z, kept_y, kept_x, kept = z, y, x, t
                keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
            v, u, w = _between(steps, z, y, x)
            z = min(max(z + v, zero), most_z)
            y = min(max(y + u, zero), most_y)
            x = min(max(x + w, zero), most_x)
            t += 1
            if not found and z == kept_z and y == kept_y and x == kept_x:
                # It goes round: what is left of the last round is all that counts.
                found, last = True, t + (count - t) % (t - kept)
        ends[place] = (np.int64(z) * high + np.int64(y)) * wide + np.int64(x)


@kernel
def _between(steps, z, y, x):  # type: ignore[no-untyped-def]
    """The step between eight voxels."""
    deep, high, wide = steps.shape[:3]
    k, j, i = np.int64(z), np.int64(y), np.int64(x)
    w, v, u = np.float64(z) - k, np.float64(y) - j, np.float64(x) - i
    k1, j1, i1 = min(k + 1, deep - 1), min(j + 1, high - 1), min(i + 1, wide - 1)
    above, below = steps[k], steps[k1]
    a, b, c, d = (1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u
    found_0 = (1 - w) * _flat(above, j, j1, i, i1, 0, a, b, c, d)
    found_1 = (1 - w) * _flat(above, j, j1, i, i1, 1, a, b, c, d)
    found_2 = (1 - w) * _flat(above, j, j1, i, i1, 2, a, b, c, d)
    found_0 += w * _flat(below, j, j1, i, i1, 0, a, b, c, d)
    found_1 += w * _flat(below, j, j1, i, i1, 1, a, b, c, d)
    found_2 += w * _flat(below, j, j1, i, i1, 2, a, b, c, d)
    return np.float32(found_0), np.float32(found_1), np.float32(found_2)


@kernel
def _flat(plane, j, j1, i, i1, axis, a, b, c, d):  # type: ignore[no-untyped-def]
    """One component of the step between four voxels of a plane."""
    return (
        plane[j, i, axis] * a
        + plane[j, i1, axis] * b
        + plane[j1, i, axis] * c
        + plane[j1, i1, axis] * d
    )


@kernel
def _walk_reference(steps, places, count, ends):  # type: ignore[no-untyped-def]
    deep, high, wide = steps.shape[:3]
    for place in places:
        row, column = divmod(place, wide)
        z, y, x = inwards(row // high, deep), inwards(row % high, high), inwards(column, wide)
        kept_z, kept_y, kept_x = z, y, x
        kept, keep_next, t, last, found = 0, 0, 0, count, False
        while t < last:
            if t == keep_next and not found:
                kept_z, kept_y, kept_x, kept = z, y, x, t
                keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
            v, u, w = _sampled(steps, z, y, x)
            z = min(max(z + v, -_ONE), _ONE)
            y = min(max(y + u, -_ONE), _ONE)
            x = min(max(x + w, -_ONE), _ONE)
            t += 1
            if not found and z == kept_z and y == kept_y and x == kept_x:
                found, last = True, t + (count - t) % (t - kept)
        k, j, i = outwards(z, deep), outwards(y, high), outwards(x, wide)
        ends[place] = (k * high + j) * wide + i


@kernel
def _sampled(steps, z, y, x):  # type: ignore[no-untyped-def]
    """The step at a position of -1 to 1, each operation rounded to single precision."""
    deep, high, wide = steps.shape[:3]
    z, y, x = _unnormalised(z, deep), _unnormalised(y, high), _unnormalised(x, wide)
    k, j, i = np.int64(np.floor(z)), np.int64(np.floor(y)), np.int64(np.floor(x))
    found_0, found_1, found_2 = np.float32(0), np.float32(0), np.float32(0)
    for dz in range(2):
        depth = np.float32(k + 1) - z if dz == 0 else z - np.float32(k)
        for dy in range(2):
            down = np.float32(j + 1) - y if dy == 0 else y - np.float32(j)
            for dx in range(2):
                right = np.float32(i + 1) - x if dx == 0 else x - np.float32(i)
                w, v, u = k + dz, j + dy, i + dx
                if 0 <= w < deep and 0 <= v < high and 0 <= u < wide:
                    weight = np.float32(np.float32(right * down) * depth)
                    found_0 = np.float32(found_0 + np.float32(steps[w, v, u, 0] * weight))
                    found_1 = np.float32(found_1 + np.float32(steps[w, v, u, 1] * weight))
                    found_2 = np.float32(found_2 + np.float32(steps[w, v, u, 2] * weight))
    return found_0, found_1, found_2


@kernel
def _unnormalised(position, side):  # type: ignore[no-untyped-def]
    return np.float32(np.float32(np.float32((position + _ONE) * np.float32(side)) - _ONE) / _TWO)
