"""What the blocks of a volume must know of all of it before candidates are decided on.

StarDist 0.9 compares polyhedra by how much longer than wide they are on average, summed up in
single precision by rank. So candidates are measured first, those of some blocks at once, and kept
by rank, a few bytes each; then they are merged, some at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import rank, strides_of
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import add_sides, anisotropy_of, boxes_of, sides_of
from cellmill.segmentation.stardist.rays import Rays
from cellmill.segmentation.stardist.volume_candidates import candidates_by_planes, check_sizes

#: Side in values of what is measured at once, as stores hold them: less is read twice.
_READ_SIDE = 256
#: Candidates that are merged at once, about; and of each block's every which may begin such a part.
_AT_ONCE, _EVERY = 1 << 20, 1 << 12


@dataclass(frozen=True)
class Measures:
    """The candidates of some blocks, by rank.

    Attributes:
        places: `(N,)` int64, of the centres in the volume laid flat.
        score: `(N,)` float32.
        sides: `(N, 3)`, of their polyhedra's boxes.
        blocks: `(M,)` int64, those that have candidates.
        extents: `(M, 3)` int64, how far a box reaches beyond its centre there at most along each
            axis.
    """

    places: np.ndarray
    score: np.ndarray
    sides: np.ndarray
    blocks: np.ndarray
    extents: np.ndarray

    def to_bytes(self) -> bytes:
        """For a mark."""
        return packed(**vars(self))

    @classmethod
    def from_bytes(cls, payload: bytes) -> Measures:
        """What `to_bytes` gave."""
        return cls(**unpacked(payload))

    def before(self, score: np.float32, place: int) -> int:
        """How many candidates rank before another."""
        first, last = (int(np.searchsorted(-self.score, -score, end)) for end in ("left", "right"))
        return first + int(np.searchsorted(self.places[first:last], place))


@dataclass(frozen=True)
class Overview:
    """What is known of a volume.

    Attributes:
        anisotropy: `(3,)` float32, of its polyhedra.
        extents: `(blocks, 3)` int64, of each block; see `Measures`; -1 without candidates.
    """

    anisotropy: np.ndarray
    extents: np.ndarray

    def to_bytes(self) -> bytes:
        """For a mark."""
        return packed(**vars(self))

    @classmethod
    def from_bytes(cls, payload: bytes) -> Overview:
        """What `to_bytes` gave."""
        return cls(**unpacked(payload))

    def beyond(self, window: Box, grid: Grid) -> Iterator[np.ndarray]:
        """Where a window is reached by polyhedra whose centres may lie beyond it, as limits."""
        low, high = np.array(window.edges).T
        counts = np.array(grid.counts)
        places = np.stack(np.unravel_index(np.arange(len(grid)), grid.counts), axis=1)
        starts = places * grid.sides
        stops = np.minimum(starts + grid.sides, grid.shape)
        extents = self.extents
        near = (extents >= 0).all(axis=1) & (counts > 0).all()
        near &= ((starts - extents < high) & (stops + extents > low)).all(axis=1)
        for start, stop, extent in zip(starts[near], stops[near], extents[near], strict=True):
            for axis in range(3):
                for first, last in (
                    (start[axis], min(stop[axis], low[axis])),
                    (max(start[axis], high[axis]), stop[axis]),
                ):
                    if first < last:
                        limits = np.empty(6, np.int64)
                        limits[::2], limits[1::2] = start - extent, stop - 1 + extent
                        limits[2 * axis] = first - extent[axis]
                        limits[2 * axis + 1] = last - 1 + extent[axis]
                        yield limits


def measured_at_once(maps: Maps, grid: Grid) -> Grid:
    """What is measured at once: several blocks in each plane."""
    many = max(_READ_SIDE * strides_of(maps)[-1] // grid.side, 1)
    return Grid(grid.shape, grid.side * many, grid.sides[0])


def measure(
    maps: Maps, parameters: StarDistParameters, rays: Rays, grid: Grid, box: Box
) -> Measures:
    """Measure the candidates of some blocks; all that the maps hold there is looked at.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        rays: directions of the distances.
        grid: of the blocks.
        box: of several of them.

    Raises:
        BadInput: a map holds NaN or infinity there, or distances are absurd.
    """
    found: list[tuple[np.ndarray, ...]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 3), np.int64))
    ]
    extents = np.full((len(grid), 3), -1)
    for plane in candidates_by_planes(maps, parameters, box):
        boxes = boxes_of(plane.points, plane.rays, rays)
        check_sizes(boxes, plane.rays, maps)
        ends = np.maximum(plane.points - boxes[:, ::2], boxes[:, 1::2] - plane.points)
        np.maximum.at(extents, grid.tiles_at(*plane.places), ends)
        places = np.ravel_multi_index(plane.places, maps.shape)
        found.append((places, plane.score, sides_of(boxes)))
    places, score, sides = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order, blocks = rank((places,), score), np.flatnonzero(extents[:, 0] >= 0)
    few = np.min_scalar_type(int(sides.max(initial=0)))
    return Measures(places[order], score[order], sides[order].astype(few), blocks, extents[blocks])


def overview_of(read: Callable[[int], Measures], parts: int, blocks: int) -> Overview:
    """Merge what is known of a volume's parts.

    Args:
        read: gives what is known of a part.
        parts: how many there are.
        blocks: how many blocks there are.
    """
    extents = np.full((blocks, 3), -1)
    samples: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
    count = 0
    for part in range(parts):
        own = read(part)
        extents[own.blocks] = own.extents
        samples.append((own.places[::_EVERY], own.score[::_EVERY]))
        count += len(own.places)
    places, score = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    firsts = rank((places,), score)[:: max(_AT_ONCE // _EVERY, 1)]
    mean: np.ndarray = np.zeros(3, np.float32)
    for first, last in itertools.pairwise([*firsts.tolist(), None]):
        some = [_between(read(part), places, score, first, last) for part in range(parts)]
        own_places, own_score, sides = (np.concatenate(each) for each in zip(*some, strict=True))
        mean = add_sides(mean, sides[rank((own_places,), own_score)].astype(np.int64), count)
    return Overview(anisotropy_of(mean), extents)


def _between(
    measures: Measures,
    places: np.ndarray,
    score: np.ndarray,
    first: int,
    last: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of a part's candidates that rank from one sample on, and before another."""
    start = measures.before(score[first], places[first])
    stop = None if last is None else measures.before(score[last], places[last])
    part = slice(start, stop)
    return measures.places[part], measures.score[part], measures.sides[part]
