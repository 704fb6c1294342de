"""Where each voxel of a cell ends up that follows the flows; see `walks` for images.

By rule `right` a walk is that of `walks` with a third axis. By rule `reference` it is cellpose
3.1.1.3's: positions run from -1 to 1 over the centres of the first and last voxel, but the field is
read as if that were their outer faces, and is 0 beyond; all in single precision. Where it ends so
depends on the size of the volume.

A walk is a function of its position, and positions are those in the whole volume: one that leaves
the window that it was followed in goes on from there in another, to the same end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from cellmill.arrays.windows import Box, Grid
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.segmentation.cellpose.ends import NONE
from cellmill.segmentation.cellpose.parameters import Rule
from cellmill.segmentation.cellpose.positions import inwards, outwards
from cellmill.segmentation.cellpose.walks import PART, Field

#: Steps from one position that is kept to the next: so many, and this part of those gone.
_KEPT_EACH, _KEPT_PART = 4, 4
#: Walks that are begun at once, by each thread.
_AT_ONCE = 1 << 16
#: Planes that are brought to steps by a thread.
_PLANES = 16
#: How far around a block walks are followed at once.
HALO = 16
_INT32_VOXELS = 2**31
_ONE, _TWO = np.float32(1), np.float32(2)


def volume_field_of(
    flows: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    window: Box,
    shape: tuple[int, ...],
    rule: Literal["right", "reference"],
) -> Field:
    """Make the field of a window of a volume; its steps have the shape of `flows`.

    Args:
        flows: `(Z, Y, X, 3)` of the window, in the order of the axes, five times a step.
        probability: `(Z, Y, X)` of the window.
        threshold: voxels above it are cells.
        window: where it lies.
        shape: `(Z, Y, X)` of the volume.
        rule: how it is walked through. Along an axis of one voxel, on which the reference divides
            by nothing, nothing moves.
    """
    steps, cells = np.empty(flows.shape, np.float32), np.empty(probability.shape, bool)
    across: np.ndarray = np.ones(3, np.float32)
    if rule == "reference":
        across[:] = [2.0 / (side - 1) if side > 1 else 0 for side in shape]

    def part(band: tuple[int, int]) -> None:
        for z in range(*band):
            given = probability[z].astype(np.float32, copy=False)
            np.greater(given, np.float32(threshold), out=cells[z])
            np.divide(flows[z].astype(np.float32, copy=False), PART, out=steps[z])
            steps[z] *= cells[z][..., np.newaxis]
            if rule == "reference":
                steps[z] *= across

    in_threads(part, bands(len(flows), _PLANES))
    return Field(window, steps, cells, shape, rule)


def follow_volume(
    flows: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    count: int,
    rule: Literal["right", "reference"],
) -> np.ndarray:
    """Walk from every voxel of a cell.

    Args:
        flows: see `volume_field_of`, of the whole volume.
        probability: the same.
        threshold: the same.
        count: steps of a walk.
        rule: the same.

    Returns:
        `(Z, Y, X)` int32, or int64 from 2³¹ voxels on: the place, in the volume laid flat, that a
        walk ended in; `NONE` where there is no cell.
    """
    shape = probability.shape
    whole = Box.of([(0, side) for side in shape])
    field = volume_field_of(flows, probability, threshold, whole, shape, rule)
    ends = np.full(
        probability.size, NONE, np.int32 if probability.size < _INT32_VOXELS else np.int64
    )
    places = np.flatnonzero(field.cells)

    def part(first: int) -> None:
        some = places[first : first + _AT_ONCE]
        positions, left = _begun(some, whole, shape, count, rule)
        _go(field, positions, left)
        ends[some] = _ended(positions, shape, rule)

    in_threads(part, range(0, len(places), _AT_ONCE))
    return ends.reshape(shape)


def follow_block(
    starts: Box,
    grid: Grid,
    field_at: Callable[[Box], Field],
    count: int,
) -> tuple[np.ndarray, int]:
    """Walk from every voxel of a cell of a block, in windows: its own, and those it leads to.

    Args:
        starts: the block.
        grid: of blocks; walks that leave a window go on in those of the blocks that they are in.
        field_at: gives the field of a window.
        count: steps of a walk.

    Returns:
        `(Z, Y, X)` int64 of the block: the place, in the volume laid flat, that a walk ended in;
        `NONE` where there is no cell. And how many more windows were walked through.
    """
    field = field_at(starts.grown(HALO, grid.shape))
    rule = field.rule
    places = np.flatnonzero(field.cells[starts.within(field.window)])
    positions, left = _begun(places, starts, grid.shape, count, rule)
    _go(field, positions, left)
    del field
    more = 0
    while len(gone := np.flatnonzero(left)):
        blocks = grid.tiles_at(*_read_at(positions[gone], grid.shape, rule))
        for block in np.unique(blocks):
            mine = gone[blocks == block]
            some, steps = positions[mine], left[mine]
            _go(field_at(grid.box(int(block)).grown(HALO, grid.shape)), some, steps)
            positions[mine], left[mine] = some, steps
            more += 1
    ends: np.ndarray = np.full(starts.shape, NONE, np.int64)
    ends.reshape(-1)[places] = _ended(positions, grid.shape, rule)
    return ends, more


def _begun(
    places: np.ndarray, box: Box, shape: tuple[int, ...], count: int, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Positions `(n, 3)` of walks from places in a box, and how many steps each has left."""
    positions = np.empty((len(places), 3), np.float32)
    _begin(places, box.origin, box.shape, shape, rule == "reference", positions)
    return positions, np.full(len(positions), count, np.int32)


def _go(field: Field, positions: np.ndarray, left: np.ndarray) -> None:
    """Go on with walks, in place, until they have no steps left or leave the field's window."""
    window = field.window
    # The last voxel along each axis from which all around a position are in the window.
    last = tuple(
        stop - (1 if stop == side else 2)
        for (_, stop), side in zip(window.edges, field.shape, strict=True)
    )
    walk = _walk_reference if field.rule == "reference" else _walk_right

    def part(band: tuple[int, int]) -> None:
        some = slice(*band)
        walk(field.steps, window.origin, last, field.shape, positions[some], left[some])

    in_threads(part, bands(len(positions), 4096, per_thread=4))


def _ended(positions: np.ndarray, shape: tuple[int, ...], rule: Rule) -> np.ndarray:
    """Places of the voxels that walks have ended in, in the volume laid flat, int64."""
    ends = np.empty(len(positions), np.int64)
    _end(positions, shape, rule == "reference", ends)
    return ends


def _read_at(positions: np.ndarray, shape: tuple[int, ...], rule: Rule) -> np.ndarray:
    """The first voxel of those that the field is read at, `(3, n)`."""
    voxels = np.empty((3, len(positions)), np.int64)
    _find(positions, shape, rule == "reference", voxels)
    return voxels


@kernel
def _begin(places, origin, box, shape, normal, positions):  # type: ignore[no-untyped-def]
    for n in range(len(places)):
        row, i = divmod(places[n], box[2])
        k, j = divmod(row, box[1])
        k, j, i = origin[0] + k, origin[1] + j, origin[2] + i
        if normal:
            positions[n, 0] = inwards(k, shape[0])
            positions[n, 1] = inwards(j, shape[1])
            positions[n, 2] = inwards(i, shape[2])
        else:
            positions[n, 0], positions[n, 1], positions[n, 2] = k, j, i


@kernel
def _end(positions, shape, normal, ends):  # type: ignore[no-untyped-def]
    deep, high, wide = shape
    for n in range(len(positions)):
        z, y, x = positions[n, 0], positions[n, 1], positions[n, 2]
        if normal:
            k, j, i = outwards(z, deep), outwards(y, high), outwards(x, wide)
        else:
            k, j, i = np.int64(z), np.int64(y), np.int64(x)
        ends[n] = (k * high + j) * wide + i


@kernel
def _find(positions, shape, normal, voxels):  # type: ignore[no-untyped-def]
    for n in range(len(positions)):
        for axis in range(3):
            along = positions[n, axis]
            if normal:
                along = _unnormalised(along, shape[axis])
            voxels[axis, n] = max(np.int64(np.floor(along)), 0)


@kernel
def _walk_right(steps, begin, end, shape, positions, left):  # type: ignore[no-untyped-def]
    zero = np.float32(0)
    most_z, most_y, most_x = (
        np.float32(shape[0] - 1),
        np.float32(shape[1] - 1),
        np.float32(shape[2] - 1),
    )
    (top, front, side), (low, back, far) = begin, end
    for n in range(len(positions)):
        z, y, x, count = positions[n, 0], positions[n, 1], positions[n, 2], left[n]
        kept_z, kept_y, kept_x = z, y, x
        kept, keep_next, t, last, found = 0, 0, 0, count, False
        while t < last:
            k, j, i = np.int64(z), np.int64(y), np.int64(x)
            if k < top or j < front or i < side or k > low or j > back or i > far:
                break
            if t == keep_next and not found:
                kept_z, kept_y, kept_x, kept = z, y, x, t
                keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
            v, u, w = _between(
                steps,
                *(k - top, j - front, i - side),
                *(np.float64(z) - k, np.float64(y) - j, np.float64(x) - i),
            )
            z = min(max(z + v, zero), most_z)
            y = min(max(y + u, zero), most_y)
            x = min(max(x + w, zero), most_x)
            t += 1
            if not found and z == kept_z and y == kept_y and x == kept_x:
                # It goes round: what is left of the last round is all that counts.
                found, last = True, t + (count - t) % (t - kept)
        positions[n, 0], positions[n, 1], positions[n, 2] = z, y, x
        left[n] = last - t


@kernel
def _between(steps, k, j, i, w, v, u):  # type: ignore[no-untyped-def]
    """The step between eight voxels; those beyond the window's last have no weight."""
    deep, high, wide = steps.shape[:3]
    # Unsigned: that no place counts from an axis's end need not be asked at each.
    k1, j1 = np.uint64(min(k + 1, deep - 1)), np.uint64(min(j + 1, high - 1))
    i1 = np.uint64(min(i + 1, wide - 1))
    k, j, i = np.uint64(k), np.uint64(j), np.uint64(i)
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
def _walk_reference(steps, begin, end, shape, positions, left):  # type: ignore[no-untyped-def]
    deep, high, wide = shape
    for n in range(len(positions)):
        z, y, x, count = positions[n, 0], positions[n, 1], positions[n, 2], left[n]
        kept_z, kept_y, kept_x = z, y, x
        kept, keep_next, t, last, found = 0, 0, 0, count, False
        while t < last:
            c, b, a = _unnormalised(z, deep), _unnormalised(y, high), _unnormalised(x, wide)
            k, j, i = np.int64(np.floor(c)), np.int64(np.floor(b)), np.int64(np.floor(a))
            if max(k, 0) < begin[0] or max(j, 0) < begin[1] or max(i, 0) < begin[2]:
                break
            if k > end[0] or j > end[1] or i > end[2]:
                break
            if t == keep_next and not found:
                kept_z, kept_y, kept_x, kept = z, y, x, t
                keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
            v, u, w = _sampled(steps, begin, shape, k, j, i, c, b, a)
            z = min(max(z + v, -_ONE), _ONE)
            y = min(max(y + u, -_ONE), _ONE)
            x = min(max(x + w, -_ONE), _ONE)
            t += 1
            if not found and z == kept_z and y == kept_y and x == kept_x:
                found, last = True, t + (count - t) % (t - kept)
        positions[n, 0], positions[n, 1], positions[n, 2] = z, y, x
        left[n] = last - t


@kernel
def _sampled(steps, begin, shape, k, j, i, z, y, x):  # type: ignore[no-untyped-def]
    """The step between the voxels k, j, i and the next; each operation in single precision."""
    (deep, high, wide), (top, front, side) = shape, begin
    found_0, found_1, found_2 = np.float32(0), np.float32(0), np.float32(0)
    for dz in range(2):
        depth = np.float32(k + 1) - z if dz == 0 else z - np.float32(k)
        for dy in range(2):
            down = np.float32(j + 1) - y if dy == 0 else y - np.float32(j)
            for dx in range(2):
                right = np.float32(i + 1) - x if dx == 0 else x - np.float32(i)
                w, v, u = k + dz, j + dy, i + dx
                if 0 <= w < deep and 0 <= v < high and 0 <= u < wide:
                    w, v, u = np.uint64(w - top), np.uint64(v - front), np.uint64(u - side)
                    weight = np.float32(np.float32(right * down) * depth)
                    found_0 = np.float32(found_0 + np.float32(steps[w, v, u, 0] * weight))
                    found_1 = np.float32(found_1 + np.float32(steps[w, v, u, 1] * weight))
                    found_2 = np.float32(found_2 + np.float32(steps[w, v, u, 2] * weight))
    return found_0, found_1, found_2


@kernel
def _unnormalised(position, side):  # type: ignore[no-untyped-def]
    return np.float32(np.float32(np.float32((position + _ONE) * np.float32(side)) - _ONE) / _TWO)
