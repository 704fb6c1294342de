"""Candidates of volumes: where a network says that a polyhedron might be, and how likely it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import SHORTEST, rank, ray_count, strides_of
from cellmill.segmentation.stardist.parameters import StarDistParameters

#: Of the box of a polyhedron: its bits take an eighth of that, bytes.
_MOST_VOXELS = 1 << 32


@dataclass(frozen=True)
class VolumeCandidates:
    """Candidates of a volume, the most likely first; of equal ones the first in raster order.

    Attributes:
        points: `(N, 3)` int64, z, y, x of the centres in voxels.
        score: `(N,)` float32, probabilities.
        rays: `(N, R)` float32, distances to the edge along the rays, in voxels.
    """

    points: np.ndarray
    score: np.ndarray
    rays: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: np.ndarray) -> VolumeCandidates:
        """Some of them, by a mask or by places in ascending order."""
        return VolumeCandidates(self.points[chosen], self.score[chosen], self.rays[chosen])

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """`(N,)` each: z, y, x."""
        return tuple(self.points.T)

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        return self.points.nbytes + self.score.nbytes + self.rays.nbytes


def joined_in_volume(
    parts: Iterable[VolumeCandidates], rays: int
) -> tuple[VolumeCandidates, np.ndarray]:
    """Candidates of several parts in order of rank.

    Args:
        parts: any number.
        rays: how many each has.

    Returns:
        All of them, and for each its place in the parts laid end to end.
    """
    every = [_none(rays), *parts]
    points, score, lengths = (
        np.concatenate([getattr(part, name) for part in every])
        for name in ("points", "score", "rays")
    )
    order = rank(tuple(points.T), score)
    return VolumeCandidates(points[order], score[order], lengths[order]), order


def find_volume_candidates(
    maps: Maps, parameters: StarDistParameters, box: Box | None = None, without: Iterable[Box] = ()
) -> VolumeCandidates:
    """Find the candidates of a volume.

    Args:
        maps: of the roles `probability` and `distances`, of the same strides.
        parameters: the threshold, and how near the border there is none.
        box: in voxels, of which those whose centres lie in it are wanted; none is all.
        without: boxes whose candidates are not wanted.

    Raises:
        BadInput: a map holds NaN or infinity, or the maps have different strides.
    """
    likely, probability, values = _likely(maps, parameters, box)
    for each in without:
        if common := _in_values(each, strides_of(maps)).common(values):
            likely[common.within(values)] = False
    points = np.argwhere(likely) + values.origin
    score = probability[likely]
    lengths = np.empty((len(points), ray_count(maps)), np.float32)
    start = 0
    # Before windows are read all of the maps was looked at.
    for plane, distances in _rays_by_planes(maps, values, likely, every=box is None):
        stop = start + int(np.count_nonzero(plane))
        lengths[start:stop] = distances[plane]
        start = stop
    np.maximum(lengths, SHORTEST, out=lengths)
    order = np.argsort(-score, kind="stable")
    return VolumeCandidates(points[order] * strides_of(maps), score[order], lengths[order])


def candidates_by_planes(
    maps: Maps, parameters: StarDistParameters, box: Box
) -> Iterator[VolumeCandidates]:
    """Find the candidates of a box plane by plane, each plane's in raster order.

    All that the maps hold there is looked at.

    Raises:
        BadInput: a map holds NaN or infinity there, or the maps have different strides.
    """
    likely, probability, values = _likely(maps, parameters, box)
    planes = _rays_by_planes(maps, values, likely, every=True)
    for z, (plane, distances) in enumerate(planes):
        places = np.argwhere(plane)
        points = np.column_stack([np.full(len(places), z), places]) + values.origin
        lengths = np.maximum(distances[plane].astype(np.float32, copy=False), SHORTEST)
        yield VolumeCandidates(points * strides_of(maps), probability[z][plane], lengths)


def check_sizes(boxes: np.ndarray, lengths: np.ndarray, maps: Maps) -> None:
    """Refuse polyhedra of which one would take more memory than there may be.

    Args:
        boxes: `(N, 6)`, theirs.
        lengths: `(N, R)`, of their rays.
        maps: from which they are.

    Raises:
        BadInput: one is.
    """
    sides = boxes[:, 1::2] - boxes[:, ::2] + 1
    if (sides.prod(axis=1, dtype=np.float64) > _MOST_VOXELS).any():
        raise BadInput(
            maps.names["distances"],
            expected=f"polyhedra within boxes of up to {_MOST_VOXELS:,} voxels",
            found=f"distances up to {float(lengths.max()):g}",
        )


def _likely(
    maps: Maps, parameters: StarDistParameters, box: Box | None
) -> tuple[np.ndarray, np.ndarray, Box]:
    """Where the candidates of a box are, the probability there, and the box in the map's values."""
    shape = tuple(maps["probability"].shape)
    values = Box.of([(0, side) for side in shape])
    if box is not None:
        values = _in_values(box, strides_of(maps))
    probability = np.asarray(maps.read("probability", values), np.float32)
    likely: np.ndarray = np.zeros(probability.shape, np.bool_)
    border = parameters.border
    inner = [(border, side - border) for side in shape]
    if all(start < stop for start, stop in inner):
        common = Box.of(inner).common(values)
        if common is not None:
            within = common.within(values)
            likely[within] = probability[within] > np.float32(parameters.prob_threshold)
    return likely, probability, values


def _in_values(box: Box, strides: tuple[int, ...]) -> Box:
    """The values of a map whose voxels lie in a box."""
    return Box.of(
        [
            (-(-start // step), -(-stop // step))
            for (start, stop), step in zip(box.edges, strides, strict=True)
        ]
    )


def _rays_by_planes(
    maps: Maps, values: Box, likely: np.ndarray, *, every: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each plane of values where its candidates are, and the distances.

    Rays of a plane are many times its voxels: no more than one is held. Without `every` planes
    without candidates are left out.
    """
    (first, _), *flat = values.edges
    window = tuple(slice(start, stop) for start, stop in flat)
    for z, plane in enumerate(likely):
        if every or plane.any():
            place = (first + z, *window)
            distances = np.asarray(maps["distances"][place])
            require_finite(distances, maps.names["distances"])
            yield plane, distances


def _none(rays: int) -> VolumeCandidates:
    nothing = np.zeros((0, 3), np.int64)
    return VolumeCandidates(nothing, np.zeros(0, np.float32), np.zeros((0, rays), np.float32))
