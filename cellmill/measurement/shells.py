"""Local background of the objects of a volume: the median of a shell around each.

A background voxel belongs to the shell of the object with the voxel nearest to it (between voxel
centres; of equally near ones that of the lowest x, then y, then z), if the distance is above an
inner radius and at most an outer one. Radii are in pixels of a plane; along z they have the same
length in microns where the voxel size is known.

The nearest voxel is found for all objects at once: along z, then among columns along y, then
along x, each time as far as the outer radius reaches. A volume is looked at plane by plane, in
strips of rows where planes are large; held are the labels of the planes in reach, and the shells
that a later plane or strip can still reach (`background`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Section, Windowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.measurement.background import ChannelRings, Joining, RingFront, Rings
from cellmill.measurement.numbering import number_objects
from cellmill.measurement.solids import Solids

#: Bytes that the labels of the planes in reach may take.
_HELD = 1 << 25
#: Columns that a thread looks at together: their rows of distances stay in its cache.
_BLOCK = 1024


def shell_medians(
    labels: Windowed,
    others: Sequence[Windowed],
    image: Windowed,
    solids: Solids,
    radii: tuple[int, int],
    voxel: tuple[float, ...],
) -> npt.NDArray[np.float64]:
    """Take the median of each object's shell in each channel.

    Args:
        labels: `(Z, Y, X)`.
        others: label volumes of other kinds of object, which are no background either.
        image: `(Z, Y, X, C)`.
        solids: the objects of `labels`.
        radii: inner and outer, in pixels of a plane.
        voxel: size of a voxel along z, y and x; only their ratios count.

    Returns:
        `(N, C)`, NaN without a shell.
    """
    depth, height, width, n_channels = image.shape
    costs = _costs(radii[1], voxel)
    squares = [_largest_square(radius) for radius in radii]
    reach = [len(cost) - 1 for cost in costs]
    dtype = np.dtype(np.uint8) if image.dtype == bool else image.dtype.newbyteorder("=")
    medians = np.full((n_channels, len(solids)), np.nan)
    channels = [ChannelRings(row, dtype) for row in medians]
    strips = _strips(height, width, reach, depth)
    # Planes are counted on from strip to strip: which is the last that an object's shell is in.
    last = np.minimum(solids.boxes[:, 4] + reach[1], height) - 1
    in_strip = np.searchsorted([rows.stop for rows in strips], last, side="right")
    front = RingFront(in_strip * depth + np.minimum(solids.boxes[:, 3] + reach[0], depth), dtype)
    for number, rows in enumerate(strips):
        strip = _Strip(labels, solids, rows, costs, squares)
        for z in range(depth):
            owner = strip.owners(z)
            for other in others:
                owner[np.asarray(other[z, rows]) != 0] = 0
            joining = front.advance(_as_rings(owner, len(solids)), number * depth + z + 1)
            if len(joining.objects):
                add = partial(_add_plane, channels, joining, Section(image, z), rows, dtype)
                in_threads(add, range(n_channels))
    return medians.T


def _add_plane(
    channels: Sequence[ChannelRings],
    joining: Joining,
    plane: Section,
    rows: slice,
    dtype: np.dtype,
    channel: int,
) -> None:
    pixels = np.asarray(plane[rows, :, channel])
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    channels[channel].add(joining, pixels.reshape(-1).view(dtype))


def _costs(outer: int, voxel: tuple[float, ...]) -> list[npt.NDArray[np.float64]]:
    """The squares of steps of 0, 1, … voxels along z, y and x, in pixels², as far as `outer`."""
    step = np.array(voxel) / min(voxel[-2:])
    squares = ((np.arange(math.floor(outer / each) + 2) * each) ** 2 for each in step)
    return [each[np.sqrt(each) <= outer] for each in squares]


def _largest_square(distance: int) -> float:
    """The largest number whose root is at most a distance."""
    square = float(distance) ** 2
    while math.sqrt(more := math.nextafter(square, math.inf)) <= distance:
        square = more
    return square


def _strips(height: int, width: int, reach: Sequence[int], depth: int) -> list[slice]:
    """Rows that are looked at together, so that the planes in reach take what they may."""
    planes = min(2 * reach[0] + 1, depth)
    rows = max(_HELD // (4 * planes * width) - 2 * reach[1], reach[1], 1)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


class _Strip:
    """Some rows of a volume, whose planes are asked for from the first to the last.

    Args:
        labels: `(Z, Y, X)`.
        solids: their objects.
        rows: the strip's own.
        costs: see `_costs`.
        squares: of the radii.
    """

    def __init__(
        self,
        labels: Windowed,
        solids: Solids,
        rows: slice,
        costs: Sequence[npt.NDArray[np.float64]],
        squares: Sequence[float],
    ) -> None:
        depth, height, width = labels.shape
        deep, high = len(costs[0]) - 1, len(costs[1]) - 1
        self._labels, self._solids, self._costs, self._squares = labels, solids, costs, squares
        self._shown = slice(max(rows.start - high, 0), min(rows.stop + high, height))
        self._rows = slice(rows.start - self._shown.start, rows.stop - self._shown.start)
        shape = (min(2 * deep + 1, depth), self._shown.stop - self._shown.start, width)
        self._held = np.zeros(shape, np.int32)
        self._filled = np.zeros(shape[:2], bool)
        self._known = 0

    def owners(self, z: int) -> npt.NDArray[np.int32]:
        """Give the object in whose shell each voxel of a plane is.

        Returns:
            Rows of the table from 1 on, 0 where there is no shell, int32 `(Y, X)`.
        """
        deep, depth, width = len(self._costs[0]) - 1, self._labels.shape[0], self._held.shape[2]
        near = range(max(z - deep, 0), min(z + deep + 1, depth))
        for other in range(self._known, near.stop):
            self._read(other)
        self._known = near.stop
        slots = np.array([other % len(self._held) for other in near])
        along_z = self._costs[0][[abs(other - z) for other in near]]
        owner = np.zeros((self._rows.stop - self._rows.start, width), np.int32)

        def work(block: tuple[tuple[int, int], int]) -> None:
            (top, bottom), left = block
            _own_shells(
                *(self._held, self._filled, slots, along_z, *self._costs[1:], *self._squares),
                *(self._rows.start + top, z % len(self._held), left, min(left + _BLOCK, width)),
                owner[top:bottom],
            )

        in_threads(work, itertools.product(bands(len(owner)), range(0, width, _BLOCK)))
        return owner

    def _read(self, z: int) -> None:
        """Hold a plane's objects, by rows of the table from 1 on."""
        plane = np.asarray(self._labels[z, self._shown])
        numbered = number_objects(plane, self._solids, slice(0, 0))
        table = np.concatenate([[0], numbered.objects + 1]).astype(np.int32)
        held = self._held[z % len(self._held)]
        np.take(table, numbered.ranks, out=held)
        held.any(axis=1, out=self._filled[z % len(self._held)])


def _as_rings(owner: npt.NDArray[np.int32], count: int) -> Rings:
    """Number the owners of a plane from 1, in place."""
    counts = np.zeros(count + 1, np.int64)
    _count(owner.reshape(-1), counts)
    objects = np.flatnonzero(counts[1:])
    places = np.zeros(count + 1, np.int32)
    places[objects + 1] = np.arange(1, len(objects) + 1)
    _renumber(owner.reshape(-1), places)
    return Rings(objects, owner, counts[objects + 1])


@kernel
def _count(numbers, counts):  # type: ignore[no-untyped-def]
    for k in range(len(numbers)):
        counts[numbers[k]] += 1


@kernel
def _renumber(numbers, places):  # type: ignore[no-untyped-def]
    for k in range(len(numbers)):
        numbers[k] = places[numbers[k]]


@kernel
def _own_shells(  # type: ignore[no-untyped-def]
    held, filled, slots, along_z, along_y, along_x, inner, outer, top, slot, left, right, owner
):
    """Find the owners of a block of a plane's voxels.

    Sums are made in the order z, y, x, and the first of equally near voxels is kept.
    """
    rows = held.shape[1]
    high, wide = len(along_y) - 1, len(along_x) - 1
    first, last = max(left - wide, 0), min(right + wide, held.shape[2])
    depth, span = 2 * high + 1, last - first
    distances, numbers = np.empty((depth, span)), np.empty((depth, span), np.int64)
    has_any = np.zeros(depth, np.bool_)
    best, best_of = np.empty(span), np.empty(span, np.int64)
    least, least_of = np.empty(right - left), np.empty(right - left, np.int64)
    coming = max(top - high, 0)
    for y in range(owner.shape[0]):
        middle = top + y
        while coming < min(rows, middle + high + 1):
            at = coming % depth
            has_any[at] = False
            for k in range(len(slots)):
                if filled[slots[k], coming]:
                    if not has_any[at]:
                        distances[at], numbers[at], has_any[at] = np.inf, 0, True
                    row = held[slots[k], coming][first:last]
                    _take_objects(row, along_z[k], distances[at], numbers[at])
            coming += 1
        best[:], best_of[:] = np.inf, 0
        some = False
        for other in range(max(middle - high, 0), min(middle + high + 1, rows)):
            if has_any[other % depth]:
                some = True
                cost = along_y[abs(other - middle)]
                _take_nearer(distances[other % depth], numbers[other % depth], cost, best, best_of)
        if not some:
            continue
        least[:], least_of[:] = np.inf, 0
        for step in range(-wide, wide + 1):
            begin, end = max(first, left + step), min(last, right + step)
            if begin < end:
                there = slice(begin - first, end - first)
                here = slice(begin - step - left, end - step - left)
                _take_nearer(
                    best[there], best_of[there], along_x[abs(step)], least[here], least_of[here]
                )
        own = held[slot, middle]
        for x in range(right - left):
            if own[left + x] == 0 and inner < least[x] and least[x] <= outer:
                owner[y, left + x] = least_of[x]


# Branches without an else, on contiguous rows: so they become masked stores of whole vectors.
@kernel
def _take_objects(row, cost, best, best_of):  # type: ignore[no-untyped-def]
    for x in range(len(best)):
        if row[x] != 0 and cost < best[x]:
            best_of[x] = row[x]
            best[x] = cost


@kernel
def _take_nearer(distances, numbers, cost, best, best_of):  # type: ignore[no-untyped-def]
    for x in range(len(best)):
        far = distances[x] + cost
        if far < best[x]:
            best_of[x] = numbers[x]
            best[x] = far
