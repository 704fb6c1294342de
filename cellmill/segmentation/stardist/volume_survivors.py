"""What is left of a block's candidates once those are dropped that no other block can save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import Rays
from cellmill.segmentation.stardist.reaches import reach
from cellmill.segmentation.stardist.suppression import DROPPED, OPEN
from cellmill.segmentation.stardist.volume_candidates import (
    VolumeCandidates,
    find_volume_candidates,
    joined_in_volume,
)
from cellmill.segmentation.stardist.volume_overview import Overview
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes

#: How far around a block candidates are looked for: so many times as far as its boxes reach beyond
#: their centres, and at most so many voxels or half a block. Fewer stay open then.
_HALO_EXTENTS, MOST_HALO = 2.5, 48


@dataclass(frozen=True)
class VolumeSurvivors:
    """A block's own candidates that are kept or still open.

    Attributes:
        candidates: by rank.
        fates: `(N,)` uint8, kept or open.
        boxes: `(N, 6)` int64, of their polyhedra; see `Polyhedra`.
    """

    candidates: VolumeCandidates
    fates: np.ndarray
    boxes: np.ndarray

    def to_bytes(self) -> bytes:
        """For a mark."""
        return packed(**vars(self.candidates), fates=self.fates, boxes=self.boxes)

    @classmethod
    def from_bytes(cls, payload: bytes) -> VolumeSurvivors:
        """What `to_bytes` gave."""
        kept = unpacked(payload)
        candidates = VolumeCandidates(kept["points"], kept["score"], kept["rays"])
        return cls(candidates, kept["fates"], kept["boxes"])


def window_of(grid: Grid, block: int, overview: Overview) -> Box:
    """Where candidates are looked for when a block is decided on."""
    box, extents = grid.box(block), overview.extents[block]
    wanted = np.ceil(_HALO_EXTENTS * extents).astype(int) + 1
    halo = np.minimum(wanted, [min(side // 2, MOST_HALO) for side in grid.sides])
    return box.grown(tuple(halo.tolist()), grid.shape) if (extents >= 0).all() else box


def find_volume_survivors(
    maps: Maps,
    parameters: StarDistParameters,
    rays: Rays,
    grid: Grid,
    block: int,
    overview: Overview,
    known: Mapping[int, VolumeSurvivors],
) -> VolumeSurvivors:
    """Decide on the candidates of a block as far as it can be done without the other blocks.

    Candidates around it are decided on too. One that a polyhedron from farther away may reach stays
    open unless it is dropped all the same, and so does what depends on it.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        rays: directions of the distances.
        grid: of the blocks.
        block: its number.
        overview: of the volume.
        known: what is left of other blocks, of any; less is done twice then.
    """
    box, window = grid.box(block), window_of(grid, block, overview)
    others = [grid.box(other) for other in known]
    parts = [find_volume_candidates(maps, parameters, window, others)]
    fates = [np.full(len(parts[0]), OPEN)]
    for left in known.values():
        near = window.holds(*left.candidates.places)
        parts.append(left.candidates[near])
        fates.append(left.fates[near])
    every, order = joined_in_volume(parts, len(rays))
    polyhedra = polyhedra_of(every.points, every.rays, rays, overview.anisotropy)
    exposed = np.zeros(len(every), np.bool_)
    for limits in overview.beyond(window, grid):
        exposed |= reach(polyhedra.boxes, limits)
    found = suppress_volumes(
        polyhedra,
        parameters.nms_threshold,
        fates=np.concatenate(fates)[order],
        exposed=exposed,
    )
    own = box.holds(*every.places) & (found != DROPPED)
    return VolumeSurvivors(every[own], found[own], polyhedra.boxes[own])
