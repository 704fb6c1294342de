"""StarDist's post-processing of images of any size, tile by tile, with the objects of the untiled.

1. Each tile's candidates are found with those of a halo around it, and decided on as far as it can
   be done without the other tiles: nearly all are dropped, and nearly all that are left are kept.
2. Those that are open depend on candidates of other tiles. Tiles go over their own, with what is
   known of the others', until none is open: the open one of highest rank can always be decided, and
   each has one fate, that of the whole image.
3. Objects are drawn when labels are read.

A tile reckons with polygons of its neighbours as long as its own longest. If one from beyond
reaches farther, the tile is decided on anew with it. What is kept in memory is a few tiles'
candidates and, of each object, its number and a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.arrays.workspace import Workspace, tile_mark
from cellmill.compute.threads import in_threads
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import Candidates, joined, ray_count
from cellmill.segmentation.stardist.drawing import draw
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.reaches import as_limits
from cellmill.segmentation.stardist.settling import Drawn, Settled, Settling
from cellmill.segmentation.stardist.suppression import suppress
from cellmill.segmentation.stardist.tile_survivors import (
    Survivors,
    find_survivors,
    found_again,
)

_SETTLED = "settled"


class TiledStarDist:
    """StarDist's post-processing of one image, in the steps of `cellmill.segmentation.interface`.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        grid: the tiles; no result depends on them.
        workspace: where what is left of tiles is kept.
    """

    def __init__(
        self, maps: Maps, parameters: StarDistParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._marks = workspace.marks
        self._rays = ray_count(maps) if len(grid) else 0

    def prepare(self, threads: int | None = None) -> None:
        """Nothing depends on the whole image."""

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Decide on tiles' candidates as far as it can be done without the other tiles."""
        done = self._marks.done()

        def one(tile: int) -> None:
            found = find_survivors(self._maps, self._parameters, self._grid.box(tile))
            self._marks.mark(tile_mark(tile), found.to_bytes())

        in_threads(one, [tile for tile in tiles if tile_mark(tile) not in done], threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Decide on what is open, and number the objects."""
        settling = Settling(self._survivors, len(self._grid), self._decided)
        again = self._reckon_with_all(settling, threads)
        found, counts = settling.settle()
        self._marks.mark(_SETTLED, packed(**found))
        return {**counts, "tiles_again": again}

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects, drawn where they are read."""
        settled = Settled(unpacked(self._marks.payload(_SETTLED)), self._survivors)
        return Drawn(self._grid.shape, settled, self._draw)

    def _survivors(self, tile: int) -> Survivors:
        """What is left of a tile.

        Raises:
            BadInput: it was not worked on, or what was kept of it is lost.
        """
        return Survivors.from_bytes(self._marks.payload(tile_mark(tile)))

    def _reckon_with_all(self, settling: Settling[Candidates], threads: int | None) -> int:
        """Find tiles that a farther polygon reaches than they reckoned with, and make them again.

        Returns:
            How many times a tile was made again.
        """

        def unreckoned(tile: int) -> np.ndarray:
            own: Any = settling.kept[tile]
            found = [
                own.unreckoned(other.candidates, other.boxes)
                for _, other in settling.reaching(as_limits(own.sure), tile)
            ]
            return np.unique(np.concatenate([np.zeros((0, 4), np.int32), *found]), axis=0)

        def made_again(wrong: tuple[int, np.ndarray]) -> Survivors:
            tile, more = wrong
            box = self._grid.box(tile)
            found = found_again(self._maps, self._parameters, box, self._survivors(tile), more)
            self._marks.mark(tile_mark(tile), found.to_bytes())
            return found

        again, tiles = 0, range(len(self._grid))
        while wrong := {t: more for t in tiles if len(more := unreckoned(t))}:
            for tile, found in zip(
                wrong, in_threads(made_again, wrong.items(), threads), strict=True
            ):
                settling.note(tile, found)
            again += len(wrong)
        return again

    def _decided(
        self, parts: Sequence[Candidates], fates: np.ndarray, decided: np.ndarray
    ) -> np.ndarray:
        every, order = joined(parts, self._rays)
        found = suppress(
            every, self._parameters.nms_threshold, fates=fates[order], decided=decided[order]
        )
        back = np.empty_like(found)
        back[order] = found
        return back

    def _draw(
        self, parts: Sequence[Candidates], numbers: np.ndarray, out: np.ndarray, box: Box
    ) -> None:
        every, order = joined(parts, self._rays)
        draw(every, numbers[order], out, box)
