"""Local background: the median intensity of a ring of background pixels around each object.

A background pixel belongs to the ring of the object nearest to it (Euclidean, between pixel
centres; of equally near ones, that with the lowest label), if the distance is above the ring's
inner and at most its outer radius. Pixels of any object are never background. An object without
such a pixel, enclosed by others, has no local background.

An image is looked at band by band, and a ring is done with once no later row can reach it: held
are the rings about a band's last rows. Only rings of objects in pieces all over an image grow with
it; in images of up to 16 bits one of very many pixels is counted by value instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads

#: Columns that a thread looks at together: their rows of distances stay in its cache.
_BLOCK = 1024
#: A ring of more pixels that is not done with is counted by value.
COUNTED = 1 << 18


@dataclass(frozen=True)
class Rings:
    """The ring pixels of a band.

    Args:
        objects: rows of the objects in sight, ascending, `(K,)`.
        owner: for each pixel the object whose ring it is in, numbered from 1 in `objects`, or 0,
            int32 `(Y, X)`.
        counts: each object's ring pixels, `(K,)`.
    """

    objects: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


def find_rings(
    ranks: npt.NDArray[np.int32],
    free: npt.NDArray[np.bool_],
    rows: slice,
    objects: npt.NDArray[np.int64],
    radii: tuple[int, int],
) -> Rings:
    """Find the ring pixels in some rows of a label image.

    The nearest object is found along rows first, then over rows, each time the least
    (distance², label): exact, and, unlike a distance transform with its own order of ties, the
    same for any bands with a halo of the outer radius.

    Args:
        ranks: labels `(Y', X)`, numbered from 1 in their order, 0 is background; the outer radius
            in rows beyond `rows`, where the image has them.
        free: pixels that may be background, `(Y, X)`, of `rows` only.
        rows: the rows to look at.
        objects: the rows, in a table of all objects, of those numbered, ascending, `(K,)`.
        radii: inner and outer radius of the ring in pixels.

    Example:
        >>> ranks = np.array([[1, 0, 0, 0, 2]], np.int32)
        >>> find_rings(ranks, ranks == 0, slice(0, 1), np.array([4, 9]), (0, 2)).owner.tolist()
        [[0, 1, 1, 2, 0]]
    """
    height, width = free.shape
    owner = np.empty((height, width), np.int32)
    inner, reach = radii
    bits = len(objects).bit_length()
    # One integer orders by (distance², label); 32 bits of it are twice as fast where they do.
    dtype = np.dtype(np.int32 if (2 * reach**2 + 2) << bits < 1 << 31 else np.int64)

    def work(left: int) -> None:
        right, first = min(left + _BLOCK, width), max(left - reach, 0)
        block = ranks[:, first : right + reach]
        keys = np.empty((2 * reach + 2, block.shape[1]), dtype)
        part = free[:, left:right]
        _own_rings(block, part, rows.start, left - first, inner, bits, keys, owner[:, left:right])

    in_threads(work, range(0, width, _BLOCK))
    return Rings(objects, owner, _counts(owner.reshape(-1), len(objects)))


@dataclass(frozen=True)
class Joining:
    """How the ring pixels of a band join those held, and which rings are then done.

    Args:
        rings: the band's.
        objects: rows of the objects held or in the band, ascending, `(U,)`.
        held_at: where in `objects` those held are, `(H,)`.
        held_counts: how many pixels of theirs are held, `(H,)`.
        band_at: where those of the band are, `(K,)`.
        counts: pixels of both, `(U,)`.
        is_done: rings that no later row reaches, `(U,)`.
        is_counted: rings to be counted by value from now on, `(U,)`.
    """

    rings: Rings
    objects: npt.NDArray[np.int64]
    held_at: npt.NDArray[np.int64]
    held_counts: npt.NDArray[np.int64]
    band_at: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    is_done: npt.NDArray[np.bool_]
    is_counted: npt.NDArray[np.bool_]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each object's pixels start, and the end, `(U + 1,)`."""
        return np.concatenate([[0], np.cumsum(self.counts)])


class RingFront:
    """Which rings are held between bands.

    Args:
        ends: the row that each object's ring ends before, `(N,)`.
        dtype: of the image.
    """

    def __init__(self, ends: npt.NDArray[np.int64], dtype: np.dtype) -> None:
        self._ends = ends
        self._countable = dtype.kind in "bui" and dtype.itemsize <= 2
        self._objects: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._counts: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._counted: npt.NDArray[np.bool_] = np.zeros(0, bool)

    def advance(self, rings: Rings, next_row: int) -> Joining:
        """Take up the next band's rings.

        Args:
            rings: the band's.
            next_row: the first row of the band after it.
        """
        objects = np.union1d(self._objects, rings.objects)
        held_at = np.searchsorted(objects, self._objects)
        band_at = np.searchsorted(objects, rings.objects)
        counts = np.zeros(len(objects), np.int64)
        counts[held_at] = self._counts
        counts[band_at] += rings.counts
        is_done = self._ends[objects] <= next_row
        is_counted = ~is_done & (counts > COUNTED) & self._countable
        joining = Joining(
            rings, objects, held_at, self._counts, band_at, counts, is_done, is_counted
        )
        was_counted = np.zeros(len(objects), bool)
        was_counted[held_at] = self._counted
        was_counted |= is_counted
        # What is counted stays in sight without a pixel, so that its end is not missed.
        stays = ~is_done
        self._objects = objects[stays]
        self._counts = np.where(is_counted, 0, counts)[stays]
        self._counted = was_counted[stays]
        return joining


class ChannelRings:
    """Ring pixels of one channel between bands, and the medians of the rings that are done.

    Args:
        medians: filled in place; NaN for an object without a ring, float64 `(N,)`.
        dtype: of the image.
    """

    def __init__(self, medians: npt.NDArray[np.float64], dtype: np.dtype) -> None:
        self._medians = medians
        self._held: npt.NDArray = np.empty(0, dtype)
        self._counted: dict[int, npt.NDArray[np.int64]] = {}

    def add(self, joining: Joining, pixels: npt.NDArray) -> None:
        """Take up a band's pixels, `(Y, X)` flattened."""
        starts = joining.starts
        values = np.empty(starts[-1], self._held.dtype)
        cursors = starts[:-1].copy()
        _gather_held(joining.held_at, joining.held_counts, self._held, cursors, values)
        _gather_band(joining.rings.owner.reshape(-1), joining.band_at, pixels, cursors, values)
        for at in np.flatnonzero(joining.is_counted):
            self._count(int(joining.objects[at]), values[starts[at] : starts[at + 1]])
        plain = joining.is_done.copy()
        if self._counted:
            plain &= ~np.isin(joining.objects, list(self._counted))
            for at in np.flatnonzero(joining.is_done & ~plain):
                counts = self._count(
                    int(joining.objects[at]), values[starts[at] : starts[at + 1]], last=True
                )
                self._medians[joining.objects[at]] = _counted_median(counts, values.dtype)
        _take_medians(joining.objects, plain, starts, values, self._medians)
        stays = ~(joining.is_done | joining.is_counted)
        self._held = values[np.repeat(stays, joining.counts)]

    def _count(
        self, owner: int, values: npt.NDArray, *, last: bool = False
    ) -> npt.NDArray[np.int64]:
        """Add values to an object's counts from the dtype's lowest on."""
        info = np.iinfo(values.dtype)
        counts = self._counted.pop(owner, np.zeros(int(info.max) - int(info.min) + 1, np.int64))
        counts += np.bincount(values.astype(np.int64) - int(info.min), minlength=len(counts))
        if not last:
            self._counted[owner] = counts
        return counts


def _counted_median(counts: npt.NDArray[np.int64], dtype: np.dtype) -> float:
    below = np.cumsum(counts)
    middle = [(below[-1] - 1) // 2, below[-1] // 2]
    low, high = np.searchsorted(below, middle, side="right") + int(np.iinfo(dtype).min)
    return float(low + high) / 2


@kernel
def _own_rings(ranks, free, top, left, inner, bits, keys, owner):  # type: ignore[no-untyped-def]
    """Find the owners of a block's pixels; `keys` has a row for each in reach, and one more."""
    rows, width = ranks.shape
    best, depth = keys[-1], len(keys) - 1
    reach = depth // 2
    number = keys.dtype.type
    beyond = number((reach * reach + 1) << bits)
    mask = (1 << bits) - 1
    coming = max(top - reach, 0)
    has_any = np.zeros(depth, np.bool_)
    for y in range(free.shape[0]):
        middle = top + y
        while coming < rows and coming <= middle + reach:
            row, out = ranks[coming], keys[coming % depth]
            last, some = -reach - 1, False
            for x in range(width):
                out[x] = beyond
                if row[x]:
                    last, some = x, True
                if x - last <= reach:
                    out[x] = number((x - last) * (x - last) << bits | row[last])
            has_any[coming % depth] = some
            last = width + reach
            for x in range(width - 1 if some else -1, -1, -1):
                if row[x]:
                    last = x
                if last - x <= reach:
                    out[x] = min(out[x], number((last - x) * (last - x) << bits | row[last]))
            coming += 1
        best[:] = keys[middle % depth]
        for other in range(max(middle - reach, 0), min(middle + reach + 1, rows)):
            if other != middle and has_any[other % depth]:
                step = number((other - middle) * (other - middle) << bits)
                near = keys[other % depth]
                for x in range(width):
                    far = number(near[x] + step)
                    best[x] = far if far < best[x] else best[x]
        for x in range(free.shape[1]):
            square = best[left + x] >> bits
            ring = free[y, x] and inner * inner < square and square <= reach * reach
            owner[y, x] = best[left + x] & mask if ring else 0


@kernel
def _counts(owner, objects):  # type: ignore[no-untyped-def]
    found = np.zeros(objects + 1, np.int64)
    for k in range(len(owner)):
        found[owner[k]] += 1
    return found[1:]


@kernel
def _gather_held(at, counts, held, cursors, values):  # type: ignore[no-untyped-def]
    start = 0
    for k in range(len(at)):
        stop = start + counts[k]
        first = cursors[at[k]]
        values[first : first + counts[k]] = held[start:stop]
        cursors[at[k]] += counts[k]
        start = stop


@kernel
def _gather_band(owner, at, pixels, cursors, values):  # type: ignore[no-untyped-def]
    for k in range(len(owner)):
        if owner[k]:
            mine = at[owner[k] - 1]
            values[cursors[mine]] = pixels[k]
            cursors[mine] += 1


@kernel
def _take_medians(objects, wanted, starts, values, medians):  # type: ignore[no-untyped-def]
    """Medians by Hoare's quickselect (1961, Communications of the ACM 4, 321), in place."""
    for each in range(len(objects)):
        own = values[starts[each] : starts[each + 1]]
        if not wanted[each] or not len(own):
            continue
        middle = (len(own) - 1) // 2
        low, high = 0, len(own) - 1
        while low < high:
            pivot = own[(low + high) // 2]
            i, j = low, high
            while i <= j:
                while own[i] < pivot:
                    i += 1
                while pivot < own[j]:
                    j -= 1
                if i <= j:
                    own[i], own[j] = own[j], own[i]
                    i += 1
                    j -= 1
            if middle <= j:
                high = j
            elif middle >= i:
                low = i
            else:
                break
        value = np.float64(own[middle])
        if len(own) % 2 == 0:
            upper = own[middle + 1]
            for k in range(middle + 2, len(own)):
                upper = min(upper, own[k])
            value = (value + np.float64(upper)) / 2
        medians[objects[each]] = value
