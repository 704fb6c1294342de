"""What is left of a tile's candidates once those are dropped that no other tile can save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import Candidates, find_candidates, joined
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polygons import polygons_of
from cellmill.segmentation.stardist.reaches import as_limits, reach, within
from cellmill.segmentation.stardist.suppression import DROPPED, suppress

#: So many of a tile's longest rays around it candidates are looked for, in pixels at least and at
#: most so many: fewer stay open then.
_HALO_RAYS, _LEAST_HALO, _MOST_HALO = 4, 32, 192

#: Polygons may reach beyond the image: there nothing is unknown.
_FAR = 1 << 30
#: Of a tile without candidates nothing can be wrong.
_NOWHERE = Box(_FAR, -_FAR, _FAR, -_FAR)


@dataclass(frozen=True)
class Survivors:
    """A tile's own candidates that are kept or still open.

    Attributes:
        candidates: by rank.
        fates: `(N,)` uint8, kept or open.
        boxes: `(N, 4)` int32, of their polygons; see `Polygons`.
        window: where candidates were looked for.
        sure: where no polygon of a candidate from beyond the window was reckoned with.
        intruders: `(M, 4)` int32, boxes of polygons from beyond that were reckoned with.
    """

    candidates: Candidates
    fates: np.ndarray
    boxes: np.ndarray
    window: Box
    sure: Box
    intruders: np.ndarray

    def unreckoned(self, others: Candidates, boxes: np.ndarray) -> np.ndarray:
        """Boxes of candidates from beyond the window that reach where they were not expected."""
        beyond = ~self.window.holds(others.y, others.x)
        found = boxes[beyond & reach(boxes, as_limits(self.sure))]
        known = (found[:, None] == self.intruders[None]).all(axis=2).any(axis=1)
        return found[~known]

    def to_bytes(self) -> bytes:
        """For a mark."""
        edges = [[b.y0, b.y1, b.x0, b.x1] for b in (self.window, self.sure)]
        every = self.candidates
        return packed(
            y=every.y,
            x=every.x,
            score=every.score,
            rays=every.rays,
            fates=self.fates,
            boxes=self.boxes,
            edges=np.array(edges),
            intruders=self.intruders,
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Survivors:
        """What `to_bytes` gave."""
        kept: dict[str, Any] = unpacked(payload)
        window, sure = (Box(*(int(edge) for edge in row)) for row in kept["edges"])
        return cls(
            Candidates(kept["y"], kept["x"], kept["score"], kept["rays"]),
            kept["fates"],
            kept["boxes"],
            window,
            sure,
            kept["intruders"],
        )


def find_survivors(
    maps: Maps, parameters: StarDistParameters, box: Box, intruders: np.ndarray | None = None
) -> Survivors:
    """Decide on the candidates of a tile as far as it can be done without the other tiles.

    A candidate near the edge of what is read may depend on what is beyond it: it stays open, and so
    does what depends on it. How far polygons from beyond reach in is not known, but taken to be
    no farther than those within; `Survivors.unreckoned` finds those that do.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        box: the tile.
        intruders: `(M, 4)` boxes of polygons from beyond that reach farther.
    """
    shape = (maps.shape[0], maps.shape[1])
    own = find_candidates(maps, parameters, [box])
    halo = min(max(math.ceil(own.longest) * _HALO_RAYS, _LEAST_HALO), _MOST_HALO)
    window = box.grown(halo, shape) if len(own) else box
    around = find_candidates(maps, parameters, _around(box, window))
    every, order = joined([own, around], own.rays.shape[1])
    mine = order < len(own)
    polygons = polygons_of(every)
    sure = _shrunk(window, math.ceil(every.longest) + 1, shape) if len(own) else _NOWHERE
    intruders = np.zeros((0, 4), np.int32) if intruders is None else intruders
    exposed = ~within(polygons.boxes, as_limits(sure))
    for each in intruders:
        exposed |= reach(polygons.boxes, each)
    fates = suppress(every, parameters.nms_threshold, exposed=exposed, polygons=polygons)
    left = mine & (fates != DROPPED)
    return Survivors(every[left], fates[left], polygons.boxes[left], window, sure, intruders)


def found_again(
    maps: Maps, parameters: StarDistParameters, box: Box, before: Survivors, more: np.ndarray
) -> Survivors:
    """Decide on a tile's candidates anew, with further polygons from beyond reckoned with."""
    intruders = np.unique(np.concatenate([before.intruders, more]), axis=0)
    return find_survivors(maps, parameters, box, intruders)


def _around(box: Box, window: Box) -> Sequence[Box]:
    """What a window has beyond a box within it, as boxes that do not overlap."""
    parts = (
        Box(window.y0, box.y0, window.x0, window.x1),
        Box(box.y1, window.y1, window.x0, window.x1),
        Box(box.y0, box.y1, window.x0, box.x0),
        Box(box.y0, box.y1, box.x1, window.x1),
    )
    return [part for part in parts if min(part.shape) > 0]


def _shrunk(window: Box, margin: int, shape: tuple[int, int]) -> Box:
    """A window without its outermost pixels, and without end where the image ends."""
    return Box(
        window.y0 + margin if window.y0 > 0 else -_FAR,
        window.y1 - margin if window.y1 < shape[0] else _FAR,
        window.x0 + margin if window.x0 > 0 else -_FAR,
        window.x1 - margin if window.x1 < shape[1] else _FAR,
    )
