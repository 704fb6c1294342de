"""What the blocks of a volume must know of all of it before candidates are decided on.

StarDist 0.9 compares polyhedra by how much longer than wide they are on average, summed up in
single precision by rank. So each block's candidates are measured first and kept by rank, a few
bytes each; then the blocks' are merged, some at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import rank
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import add_sides, anisotropy_of, boxes_of, sides_of
from cellmill.segmentation.stardist.rays import Rays
from cellmill.segmentation.stardist.volume_candidates import candidates_by_planes, check_sizes

#: Candidates that are merged at once, about; and of each block's every which may begin such a part.
_AT_ONCE, _EVERY = 1 << 20, 1 << 12


@dataclass(frozen=True)
class BlockMeasures:
    """A block's candidates, by rank.

    Attributes:
        places: `(N,)` int64, of the centres in the volume laid flat.
        score: `(N,)` float32.
        sides: `(N, 3)`, of their polyhedra's boxes.
        extents: `(3,)` int64, how far a box reaches beyond its centre at most along each axis; -1
            without candidates.
    """

    places: np.ndarray
    score: np.ndarray
    sides: np.ndarray
    extents: np.ndarray

    def to_bytes(self) -> bytes:
        """For a mark."""
        return packed(**vars(self))

    @classmethod
    def from_bytes(cls, payload: bytes) -> BlockMeasures:
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
        extents: `(blocks, 3)` int64; see `BlockMeasures`.
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


def measure_block(
    maps: Maps, parameters: StarDistParameters, rays: Rays, box: Box
) -> BlockMeasures:
    """Measure the candidates of a block; all that the maps hold there is looked at.

    Raises:
        BadInput: a map holds NaN or infinity there, or distances are absurd.
    """
    found: list[tuple[np.ndarray, ...]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 3), np.int64))
    ]
    extents = np.full(3, -1)
    for plane in candidates_by_planes(maps, parameters, box):
        boxes = boxes_of(plane.points, plane.rays, rays)
        check_sizes(boxes, plane.rays, maps)
        ends = np.maximum(plane.points - boxes[:, ::2], boxes[:, 1::2] - plane.points)
        extents = np.maximum(extents, ends.max(axis=0, initial=-1))
        places = np.ravel_multi_index(plane.places, maps.shape)
        found.append((places, plane.score, sides_of(boxes)))
    places, score, sides = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = rank((places,), score)
    few = np.min_scalar_type(int(sides.max(initial=0)))
    return BlockMeasures(places[order], score[order], sides[order].astype(few), extents)


def overview_of(read: Callable[[int], BlockMeasures], blocks: int) -> Overview:
    """Merge what is known of a volume's blocks.

    Args:
        read: gives what is known of a block.
        blocks: how many there are.
    """
    extents = np.empty((blocks, 3), np.int64)
    samples: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
    count = 0
    for block in range(blocks):
        own = read(block)
        extents[block] = own.extents
        samples.append((own.places[::_EVERY], own.score[::_EVERY]))
        count += len(own.places)
    places, score = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    firsts = rank((places,), score)[:: max(_AT_ONCE // _EVERY, 1)]
    mean: np.ndarray = np.zeros(3, np.float32)
    for first, last in itertools.pairwise([*firsts.tolist(), None]):
        parts = [_between(read(block), places, score, first, last) for block in range(blocks)]
        own_places, own_score, sides = (np.concatenate(part) for part in zip(*parts, strict=True))
        mean = add_sides(mean, sides[rank((own_places,), own_score)].astype(np.int64), count)
    return Overview(anisotropy_of(mean), extents)


def _between(
    measures: BlockMeasures,
    places: np.ndarray,
    score: np.ndarray,
    first: int,
    last: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of a block's candidates that rank from one sample on, and before another."""
    start = measures.before(score[first], places[first])
    stop = None if last is None else measures.before(score[last], places[last])
    part = slice(start, stop)
    return measures.places[part], measures.score[part], measures.sides[part]
