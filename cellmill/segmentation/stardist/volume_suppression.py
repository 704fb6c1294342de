"""Non-maximum suppression of star-convex polyhedra: which candidates become objects.

Candidates are gone through by rank; one is kept unless it overlaps one that is kept (Weigert et
al., WACV 2020). Whether two overlap is asked as StarDist 0.9 does, of one bound after the other:
spheres and boxes; the volume that the polyhedra's kernels share, if that is enough; the volume that
their convex hulls share, if that is too little; then the voxels that they share. Bounds of the
volume and voxels can only disagree where the voxels are nearly as many as would decide: elsewhere
voxels are counted and the kernels and hulls left alone, which is what makes this fast.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.segmentation.stardist.polyhedra import (
    Polyhedra,
    certain,
    fill_corners,
)
from cellmill.segmentation.stardist.suppression import DROPPED, KEPT, OPEN
from cellmill.segmentation.stardist.voxels import set_voxels, shared, words_of

#: Candidates that are decided on together: first so many, then twice as many, up to this.
_FIRST, _MOST = 32, 1024
#: Candidates that a thread looks at before it asks for more.
_AT_ONCE = 32
#: Voxels and volume may differ by so much, for each voxel's width of the surface's root.
_MARGIN = 1.5
#: A hull that cannot be computed shares everything.
_EVERYTHING = 1e10
_TINY = 1e-10


def suppress_volumes(
    polyhedra: Polyhedra,
    threshold: float,
    *,
    fates: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    exposed: np.ndarray | None = None,
) -> np.ndarray:
    """Decide which candidates are kept.

    Args:
        polyhedra: theirs, by rank.
        threshold: part of the smaller volume above which two polyhedra overlap.
        fates: what is known of them; none is that all are open.
        decided: those whose fates are not to be changed, bool; none is none of them.
        exposed: those that an unknown candidate may overlap, bool: unless it is dropped all the
            same, such a one stays open. None is none of them.

    Returns:
        `(N,)` uint8, `OPEN`, `KEPT` or `DROPPED`. Without `exposed`, and if all fates that were
        given as decided are not open, no candidate stays open.
    """
    count, limit = len(polyhedra), np.float32(threshold)
    nobody = np.zeros(count, np.bool_)
    decided = nobody if decided is None else decided
    exposed = nobody if exposed is None else exposed
    found = np.full(count, OPEN) if fates is None else fates.copy()
    asked, dropped = (found == OPEN) & ~decided, found == DROPPED
    before, still_open, first, many = _Kept(polyhedra), _Open(polyhedra, limit), 0, _FIRST
    while first < count:
        block = np.arange(first, min(first + many, count))
        pairs = _looked_at(polyhedra, before, block[asked[block]], limit, dropped)
        own = _Kept(polyhedra)
        for j in block[~dropped[block]].tolist():
            # For exposed ones it is enough to look at those kept before.
            if asked[j]:
                few = np.array([j] if not exposed[j] else [], np.int64)
                more = _looked_at(polyhedra, own, few, limit, dropped)
                close = [*pairs.get(j, ()), *more.get(j, ())]
                if not dropped[j]:
                    dropped[j] = any(overlap_closely(polyhedra, i, j, limit, n) for i, n in close)
                if not dropped[j]:
                    found[j] = OPEN if exposed[j] or still_open.overlap(j) else KEPT
            if dropped[j]:
                found[j] = DROPPED
            elif found[j] == KEPT:
                own.add(j)
            else:
                still_open.add(j)
        before.extend(own)
        first, many = first + many, min(2 * many, _MOST)
    found[dropped] = DROPPED
    return found


def overlap(polyhedra: Polyhedra, i: int, j: int, threshold: np.float32) -> bool:
    """Whether two polyhedra overlap, `i` being the likelier."""
    said: int = certain(polyhedra.arrays, i, j, threshold)
    if said < 2:
        return bool(said)
    one, other = polyhedra.boxes[i], polyhedra.boxes[j]
    voxels = int(shared(_bits_of(polyhedra, i), one, _bits_of(polyhedra, j), other))
    smaller = float(min(polyhedra.volumes[i], polyhedra.volumes[j])) + _TINY
    if abs(voxels - smaller * float(threshold)) > _margin(one, other):
        return bool(_enough(voxels, smaller, threshold))
    return overlap_closely(polyhedra, i, j, threshold, voxels)


def overlap_closely(
    polyhedra: Polyhedra, i: int, j: int, threshold: np.float32, voxels: int
) -> bool:
    """Whether two polyhedra overlap that share about as many voxels as would decide it.

    Args:
        polyhedra: all.
        i: place of the one that is kept.
        j: place of the other.
        threshold: part of the smaller volume.
        voxels: how many they share.
    """
    smaller = float(min(polyhedra.volumes[i], polyhedra.volumes[j])) + _TINY
    corners = polyhedra.corners(i), polyhedra.corners(j)
    middle = 0.5 * (polyhedra.centres[i] + polyhedra.centres[j]).astype(np.float64)
    # Of kernels, hulls and voxels it is asked first what is likely to decide.
    if _enough(voxels, smaller, threshold):
        try:
            hulls = [ConvexHull(each.astype(np.float64)).equations for each in corners]
            common = _common_volume(np.concatenate(hulls), middle, _EVERYTHING)
        except QhullError:
            common = _EVERYTHING
        if np.float32(common / smaller) > threshold:
            return True
    planes = np.concatenate([_planes(each, polyhedra.faces) for each in corners])
    return bool(np.float32(_common_volume(planes, middle, 0.0) / smaller) > threshold)


class _Kept:
    """Candidates that are kept, with their voxels' bits."""

    def __init__(self, polyhedra: Polyhedra) -> None:
        self._of = polyhedra
        self.places: np.ndarray = np.empty(16, np.int64)
        self.firsts: np.ndarray = np.zeros(17, np.int64)
        self.words: np.ndarray = np.empty(1 << 10, np.uint64)
        self.count = 0

    def add(self, j: int) -> None:
        """Keep one."""
        first = int(self.firsts[self.count])
        last = first + int(np.prod(words_of(self._of.boxes[j])))
        self._make_room(1, last)
        self.words[first:last] = 0
        _set_one(self._of.arrays, j, self.words[first:last])
        self.places[self.count], self.firsts[self.count + 1] = j, last
        self.count += 1

    def extend(self, other: _Kept) -> None:
        """Keep those of another."""
        first = int(self.firsts[self.count])
        last = first + int(other.firsts[other.count])
        self._make_room(other.count, last)
        self.words[first:last] = other.words[: last - first]
        end = self.count + other.count
        self.places[self.count : end] = other.places[: other.count]
        self.firsts[self.count : end + 1] = other.firsts[: other.count + 1] + first
        self.count = end

    def _make_room(self, more: int, words: int) -> None:
        while len(self.places) < self.count + more:
            self.places = np.concatenate([self.places, np.empty_like(self.places)])
            self.firsts = np.concatenate([self.firsts, np.empty_like(self.firsts)])
        while len(self.words) < words:
            self.words = np.concatenate([self.words, np.empty_like(self.words)])


class _Open:
    """Candidates that are open, without their voxels: few are asked for."""

    def __init__(self, polyhedra: Polyhedra, limit: np.float32) -> None:
        self._of, self._limit = polyhedra, limit
        self._places: np.ndarray = np.empty(16, np.int64)
        self._count = 0

    def add(self, j: int) -> None:
        """One stays open."""
        if self._count == len(self._places):
            self._places = np.concatenate([self._places, np.empty_like(self._places)])
        self._places[self._count] = j
        self._count += 1

    def overlap(self, j: int) -> bool:
        """Whether one of them overlaps another candidate."""
        places = self._places[: self._count]
        sure, doubtful = _near_open(self._of.arrays, places, j, self._limit)
        return sure or any(overlap(self._of, i, j, self._limit) for i in doubtful.tolist())


def _bits_of(polyhedra: Polyhedra, j: int) -> np.ndarray:
    """The voxels of one candidate, as bits of its box."""
    shape = words_of(polyhedra.boxes[j])
    words: np.ndarray = np.zeros(int(np.prod(shape)), np.uint64)
    _set_one(polyhedra.arrays, j, words)
    return words.reshape(shape)


def _looked_at(
    polyhedra: Polyhedra, kept: _Kept, some: np.ndarray, limit: np.float32, dropped: np.ndarray
) -> dict[int, list[tuple[int, int]]]:
    """Drop those of some candidates that surely overlap a kept one.

    Returns:
        Of the others those kept ones that they may overlap, with how many voxels they share.
    """
    if not kept.count or not len(some):
        return {}
    places = kept.places[: kept.count]
    boxes = polyhedra.boxes[places]

    def part(first: int) -> np.ndarray:
        few = some[first : first + many]
        return _look(polyhedra.arrays, places, boxes, kept.firsts, kept.words, few, limit, dropped)

    many = min(_AT_ONCE, -(-len(some) // thread_count()))
    found: dict[int, list[tuple[int, int]]] = {}
    for pairs in in_threads(part, range(0, len(some), many)):
        for j, i, voxels in pairs.tolist():
            found.setdefault(j, []).append((i, voxels))
    return found


def _planes(corners: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The planes of a polyhedron's faces, `(F, 4)`, computed in single precision."""
    a, b, c = (corners[faces[:, k]] for k in range(3))
    (pz, py, px), (qz, qy, qx) = (b - a).T, (c - a).T
    normals = np.stack([-(py * qx - px * qy), -(px * qz - pz * qx), -(pz * qy - py * qz)], axis=1)
    offsets = -(a[:, 0] * normals[:, 0] + a[:, 1] * normals[:, 1] + a[:, 2] * normals[:, 2])
    return np.column_stack([normals, offsets]).astype(np.float64)


def _common_volume(planes: np.ndarray, middle: np.ndarray, otherwise: float) -> float:
    """The volume between planes that all face away from a point; or what else is taken for it."""
    try:
        corners = HalfspaceIntersection(planes, middle).intersections
        return float(ConvexHull(corners).volume)
    except (QhullError, ValueError):
        return otherwise


@kernel
def _enough(voxels, smaller, threshold):  # type: ignore[no-untyped-def]
    """Whether so many shared voxels are an overlap; counting stops with the first that decides."""
    most = np.float32(smaller * np.float64(threshold))
    if np.float32(voxels) > most:
        voxels = np.int64(np.floor(most)) + 1
    return np.float32(np.float64(voxels) / smaller) > threshold


@kernel
def _set_one(polyhedra, j, words):  # type: ignore[no-untyped-def]
    """Set the voxels of one candidate in words laid flat."""
    corners = np.empty(polyhedra[2].shape, np.float32)
    fill_corners(polyhedra[0], polyhedra[1], polyhedra[2], j, corners)
    box = polyhedra[5][j]
    bits = words.reshape(words_of(box))
    set_voxels(polyhedra[0][j], corners, polyhedra[3], box, bits, np.empty((0, 0, 0), np.uint64))


@kernel
def _near_open(polyhedra, places, j, threshold):  # type: ignore[no-untyped-def]
    """Whether a candidate surely overlaps one of some; if not, those that it may overlap."""
    boxes, count = polyhedra[5], 0
    box, found = boxes[j], np.empty(16, np.int64)
    for i in places:
        other = boxes[i]
        apart = other[0] > box[1] or other[1] < box[0] or other[2] > box[3]
        if apart or other[3] < box[2] or other[4] > box[5] or other[5] < box[4]:
            continue
        said = certain(polyhedra, i, j, threshold)
        if said == 1:
            return True, found[:0]
        if said == 2:
            if count == len(found):
                longer = np.empty(2 * count, np.int64)
                longer[:count] = found
                found = longer
            found[count] = i
            count += 1
    return False, found[:count]


@kernel
def _look(polyhedra, places, kept_boxes, firsts, words, some, threshold, dropped):  # type: ignore[no-untyped-def]
    volumes, boxes = polyhedra[4], polyhedra[5]
    count, pairs = 0, np.empty((16, 3), np.int64)
    near, own = np.empty(len(places), np.int64), np.empty(0, np.uint64)
    for j in some:
        found, box = 0, boxes[j]
        for k in range(len(places)):
            other = kept_boxes[k]
            apart = other[0] > box[1] or other[1] < box[0] or other[2] > box[3]
            if apart or other[3] < box[2] or other[4] > box[5] or other[5] < box[4]:
                continue
            said = certain(polyhedra, places[k], j, threshold)
            if said == 1:
                dropped[j] = True
                break
            if said == 2:
                near[found] = k
                found += 1
        if dropped[j] or not found:
            continue
        shape = words_of(box)
        size = shape[0] * shape[1] * shape[2]
        if len(own) < size:
            own = np.empty(size, np.uint64)
        own[:size] = 0
        _set_one(polyhedra, j, own[:size])
        bits = own[:size].reshape(shape)
        begin = count
        for m in range(found):
            k = near[m]
            i, other = places[k], kept_boxes[k]
            theirs = words[firsts[k] : firsts[k + 1]].reshape(words_of(other))
            voxels = shared(theirs, other, bits, box)
            smaller = np.float64(min(volumes[i], volumes[j])) + _TINY
            if abs(voxels - smaller * np.float64(threshold)) > _margin(other, box):
                if _enough(voxels, smaller, threshold):
                    dropped[j] = True
                    count = begin
                    break
                continue
            if count == len(pairs):
                longer = np.empty((2 * count, 3), np.int64)
                longer[:count] = pairs
                pairs = longer
            pairs[count, 0], pairs[count, 1], pairs[count, 2] = j, i, voxels
            count += 1
    return pairs[:count]


@kernel
def _margin(one, other):  # type: ignore[no-untyped-def]
    """How far the number of shared voxels may be from the volume that two boxes may share."""
    z = min(one[1], other[1]) - max(one[0], other[0]) + 1
    y = min(one[3], other[3]) - max(one[2], other[2]) + 1
    x = min(one[5], other[5]) - max(one[4], other[4]) + 1
    return _MARGIN * np.sqrt(2.0 * (z * y + y * x + x * z))
