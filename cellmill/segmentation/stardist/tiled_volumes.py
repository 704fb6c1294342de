"""StarDist's post-processing of volumes of any size, block by block, with the objects of the whole.

1. Each block's polyhedra are measured, and from all how long they are on average along each axis
   (`volume_overview`).
2. Each block's candidates are decided on with those around it, as far as it can be done without the
   other blocks (`volume_survivors`).
3. Those that are open depend on candidates of other blocks: blocks go over their own until none is
   open (`settling`).
4. Objects are drawn when labels are read.

What is kept in memory is a few blocks' candidates and, of each object, its number and a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.arrays.workspace import Workspace, tile_mark
from cellmill.compute.threads import in_threads
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import ray_count
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.settling import Drawn, Settled, Settling
from cellmill.segmentation.stardist.volume_candidates import VolumeCandidates, joined_in_volume
from cellmill.segmentation.stardist.volume_drawing import draw_volume
from cellmill.segmentation.stardist.volume_overview import (
    Measures,
    Overview,
    measure,
    measured_at_once,
    overview_of,
)
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes
from cellmill.segmentation.stardist.volume_survivors import (
    VolumeSurvivors,
    find_volume_survivors,
    window_of,
)

_OVERVIEW, _SETTLED = "overview", "settled"


class TiledVolumeStarDist:
    """StarDist's post-processing of one volume, in the steps of `cellmill.segmentation.interface`.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        grid: the blocks; no result depends on them.
        workspace: where what is left of blocks is kept.
    """

    def __init__(
        self, maps: Maps, parameters: StarDistParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._marks = workspace.marks
        self._rays = golden_spiral(ray_count(maps), parameters.anisotropy)

    def prepare(self, threads: int | None = None) -> None:
        """Measure all polyhedra."""
        done = self._marks.done()
        if _OVERVIEW in done:
            return

        parts = measured_at_once(self._maps, self._grid)

        def one(part: int) -> None:
            box = parts.box(part)
            found = measure(self._maps, self._parameters, self._rays, self._grid, box)
            self._marks.mark(_measures(part), found.to_bytes())

        every = range(len(parts))
        in_threads(one, [part for part in every if _measures(part) not in done], threads)
        found = overview_of(
            lambda part: Measures.from_bytes(self._marks.payload(_measures(part))),
            len(parts),
            len(self._grid),
        )
        self._marks.mark(_OVERVIEW, found.to_bytes())
        for part in every:
            self._marks.unmark(_measures(part))

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Decide on blocks' candidates as far as it can be done without the other blocks."""
        done = self._marks.done()
        if _OVERVIEW not in done:
            self.prepare(threads)
        overview = Overview.from_bytes(self._marks.payload(_OVERVIEW))

        def one(block: int) -> None:
            around = self._grid.overlapping(window_of(self._grid, block, overview))
            # Whatever others have found by now, each candidate has one fate.
            known = {b: self._survivors(b) for b in around if tile_mark(b) in done}
            found = find_volume_survivors(
                self._maps, self._parameters, self._rays, self._grid, block, overview, known
            )
            self._marks.mark(tile_mark(block), found.to_bytes())
            done.add(tile_mark(block))

        left = [tile for tile in tiles if tile_mark(tile) not in done]
        if left:
            self._marks.unmark(_SETTLED)
        in_threads(one, left, threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Decide on what is open, and number the objects."""
        anisotropy = Overview.from_bytes(self._marks.payload(_OVERVIEW)).anisotropy

        def decide(
            parts: Sequence[VolumeCandidates], fates: np.ndarray, decided: np.ndarray
        ) -> np.ndarray:
            every, order = joined_in_volume(parts, len(self._rays))
            found = suppress_volumes(
                polyhedra_of(every.points, every.rays, self._rays, anisotropy),
                self._parameters.nms_threshold,
                fates=fates[order],
                decided=decided[order],
            )
            back = np.empty_like(found)
            back[order] = found
            return back

        found, counts = Settling(self._survivors, len(self._grid), decide).settle()
        self._marks.mark(_SETTLED, packed(**found))
        return counts

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects, drawn where they are read."""
        settled = Settled(unpacked(self._marks.payload(_SETTLED)), self._survivors)
        return Drawn(self._grid.shape, settled, self._draw)

    def _survivors(self, block: int) -> VolumeSurvivors:
        """What is left of a block.

        Raises:
            BadInput: it was not worked on, or what was kept of it is lost.
        """
        return VolumeSurvivors.from_bytes(self._marks.payload(tile_mark(block)))

    def _draw(
        self, parts: Sequence[VolumeCandidates], numbers: np.ndarray, out: np.ndarray, box: Box
    ) -> None:
        every, order = joined_in_volume(parts, len(self._rays))
        # What drawing goes by has nothing to do with the volume's other polyhedra.
        polyhedra = polyhedra_of(every.points, every.rays, self._rays, np.ones(3, np.float32))
        draw_volume(polyhedra, every.score, out, numbers[order], box.origin)


def _measures(part: int) -> str:
    return tile_mark(part, "measures")
