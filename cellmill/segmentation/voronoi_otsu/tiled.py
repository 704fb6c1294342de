"""Voronoi-Otsu of images and volumes of any size, tile by tile, with the labels of the untiled one.

1. Otsu's threshold is that of the whole image: its extremes and its histogram are taken first.
2. Each tile finds its own mask and seeds exactly, and grows them with a margin around it.
3. Tiles read the pixels just beyond their sides and lower their arrivals, until none changes; then
   the same for labels. Both have one solution (see `cellmill.morphology.growth`).

What a tile has found lies in one array: when each pixel is reached, and by which seed. An id is the
place of the seed's first pixel in the whole image. Each step goes on after it was killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cellmill.arrays.indexing import places_in
from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Plane, Windowed, WritableWindowed
from cellmill.arrays.workspace import Workspace, tile_mark, unfinished_tiles
from cellmill.compute.threads import in_threads
from cellmill.labels.cleaned import Cleaned
from cellmill.labels.tiles import find_objects
from cellmill.morphology.growth import FAR, assign, last_arrival, relax, start
from cellmill.morphology.otsu import centred_histogram, otsu_threshold
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from cellmill.segmentation.voronoi_otsu.seeds import Blurs, spots_in

#: What a workspace calls what was found, and the mark that keeps the threshold.
_FOUND, _THRESHOLD = "found", "threshold"
#: Channels of what was found.
_ARRIVAL, _ID = 0, 1
#: Around a tile of an image and of a volume, pixels of the finest axis: most seeds that reach into
#: it lie within.
_MARGINS = {2: 32, 3: 16}


class TiledVoronoiOtsu:
    """Voronoi-Otsu of one image or volume, in the four steps of `cellmill.segmentation.interface`.

    Args:
        maps: the role `intensity`.
        parameters: widths of the blurs and the rule.
        grid: the tiles; no result depends on them.
        workspace: where what was found is kept.

    Raises:
        BadInput: see `VoronoiOtsuParameters.sigmas`.
    """

    def __init__(
        self, maps: Maps, parameters: VoronoiOtsuParameters, grid: Grid, workspace: Workspace
    ) -> None:
        self._maps, self._parameters, self._grid = maps, parameters, grid
        self._workspace, self._marks = workspace, workspace.marks
        ndim = len(grid.shape)
        self._blurs = Blurs.of(parameters, maps.mpp, ndim)
        self._margin = tuple(
            math.ceil(_MARGINS[ndim] / step) for step in parameters.spacing(maps.mpp, ndim)
        )

    def prepare(self, threads: int | None = None) -> None:
        """Take Otsu's threshold of the whole image."""
        self._workspace.array(_FOUND, (*self._grid.shape, 2), np.int64)
        if _THRESHOLD in self._marks.done():
            return
        boxes = [self._grid.box(tile) for tile in range(len(self._grid))]

        def extremes(box: Box) -> tuple[float, float]:
            outlined = self._outlined(box)
            return float(outlined.min()), float(outlined.max())

        found = in_threads(extremes, boxes, threads)
        low, high = min(each[0] for each in found), max(each[1] for each in found)
        threshold = np.float32(np.inf)
        if low < high:
            counts = in_threads(
                lambda box: centred_histogram(self._outlined(box), low, high), boxes, threads
            )
            threshold = np.float32(otsu_threshold(np.sum(counts, axis=0), low, high))
        self._marks.mark(_THRESHOLD, packed(threshold=np.array(threshold)))

    def work(self, tiles: Iterable[int], threads: int | None = None) -> None:
        """Find the mask and the seeds of tiles, and grow them."""
        threshold = unpacked(self._marks.payload(_THRESHOLD))["threshold"]

        def one(tile: int) -> None:
            box = self._grid.box(tile)
            outer, mask, seeds = self._begin(box, threshold)
            # Whatever path was found is one in the whole image: no arrival is too early.
            arrivals, ids = np.pad(start(mask, seeds), 1), np.pad(seeds, 1)
            relax(arrivals, self._blurs.metric)
            assign(arrivals, ids, self._blurs.metric)
            core = tuple(slice(part.start + 1, part.stop + 1) for part in box.within(outer))
            self._found[box.slices] = np.stack([arrivals[core], ids[core]], axis=-1)
            self._marks.mark(tile_mark(tile))

        left = unfinished_tiles(tiles, self._grid, self._found, self._marks, tile_mark, threads)
        in_threads(one, left, threads)

    def settle(self, threads: int | None = None) -> dict[str, int]:
        """Exchange the pixels along the seams until nothing changes."""
        every = range(len(self._grid))
        relaxed = self._exchange(self._relax_window, every, threads)
        last = FAR
        late: list[int] = []
        if self._blurs.metric.alternating:
            present = in_threads(self._arrivals, every, threads)
            last = last_arrival(np.concatenate(present))
            late = [
                tile for tile in every if ((present[tile] > last) & (present[tile] < FAR)).any()
            ]

        def assign_window(window: np.ndarray) -> bool:
            return assign(window[..., _ARRIVAL], window[..., _ID], self._blurs.metric, last)

        assigned = self._exchange(assign_window, every, threads, late)
        return {"tiles": len(self._grid), "relaxed_again": relaxed, "assigned_again": assigned}

    def labels(self, threads: int | None = None) -> Windowed:
        """The objects, small ones dropped."""
        found = self._workspace.finished(_FOUND, (*self._grid.shape, 2), np.int64)
        cleaned = Cleaned(Plane(found, _ID))
        small = self._parameters.small_objects_threshold
        if small > 1:
            found_objects = find_objects(cleaned, self._grid, threads)
            cleaned.dropped = found_objects.ids[found_objects.areas < small]
        return cleaned

    @property
    def _found(self) -> WritableWindowed:
        return self._workspace.array(_FOUND, (*self._grid.shape, 2), np.int64)

    def _image(self, box: Box) -> np.ndarray:
        return np.asarray(self._maps.read("intensity", box), np.float32)

    def _outlined(self, box: Box) -> np.ndarray:
        outer = box.grown(self._blurs.margins, self._grid.shape)
        return self._blurs.outlined(self._image(outer))[box.within(outer)]

    def _begin(self, box: Box, threshold: np.ndarray) -> tuple[Box, np.ndarray, np.ndarray]:
        """The mask and the seeds of a tile and what is around it, and how much that is.

        Of a plateau that the window cuts off is not known whether it is a maximum: as long as it
        reaches into the tile the window is widened; elsewhere it is left out.
        """
        margin = self._margin
        while True:
            outer = box.grown(margin, self._grid.shape)
            wide = outer.grown(self._blurs.margins, self._grid.shape)
            image, core = self._image(wide), outer.within(wide)
            mask = self._blurs.outlined(image)[core] > threshold
            spots = spots_in(image, mask, self._blurs, core)
            at = np.unravel_index(spots.places, mask.shape)
            open_ids = np.unique(spots.ids[self._at_cuts(at, outer)])
            inside = box.holds(*(a + b for a, b in zip(at, outer.origin, strict=True)))
            if not np.isin(spots.ids[inside], open_ids).any():
                break
            margin = tuple(4 * by for by in margin)
        spots = spots.without(open_ids)
        places = places_in(spots.places, outer, self._grid.shape) + 1
        ids, first = np.unique(spots.ids, return_index=True)
        seeds = np.zeros(mask.shape, np.int64)
        if len(ids):
            seeds.reshape(-1)[spots.places] = places[first[np.searchsorted(ids, spots.ids)]]
        return outer, mask, seeds

    def _at_cuts(self, at: Sequence[np.ndarray], box: Box) -> np.ndarray:
        """Which pixels of a window lie along those of its sides that are not the image's own."""
        found = np.zeros(at[0].shape, np.bool_)
        for along, (first, last), length in zip(at, box.edges, self._grid.shape, strict=True):
            found |= (along == 0) & (first > 0)
            found |= (along == last - first - 1) & (last < length)
        return found

    def _relax_window(self, window: np.ndarray) -> bool:
        """Lower the arrivals within a window's outermost pixels, and give labels to match."""
        if not relax(window[..., _ARRIVAL], self._blurs.metric):
            return False
        assign(window[..., _ARRIVAL], window[..., _ID], self._blurs.metric)
        return True

    def _arrivals(self, tile: int) -> np.ndarray:
        return np.unique(self._found[self._grid.box(tile).slices][..., _ARRIVAL])

    def _exchange(
        self,
        settle: Callable[[np.ndarray], bool],
        tiles: Iterable[int],
        threads: int | None,
        first: Iterable[int] = (),
    ) -> int:
        """Settle tiles with the pixels around them until none changes; how often that was done.

        Args:
            settle: changes all but the outermost pixels of a window; whether it changed any.
            tiles: to be looked at.
            threads: how many at once.
            first: those that are settled whatever lies along their sides.
        """
        forced, left, count = set(first), set(tiles), 0

        def one(tile: int) -> bool:
            box = self._grid.box(tile)
            # A line with its two neighbours shows whether anything would change.
            strips = (self._window(strip) for strip in box.rim(*(1,) * len(box.edges)))
            if tile not in forced and not any(map(settle, strips)):
                return False
            window = self._window(box)
            settle(window)
            self._found[box.slices] = window[(slice(1, -1),) * len(box.edges)]
            return True

        while left:
            order = sorted(left)
            changed = [
                t for t, did in zip(order, in_threads(one, order, threads), strict=True) if did
            ]
            count += len(changed)
            forced = set()
            around = (self._grid.box(tile).grown(1, self._grid.shape) for tile in changed)
            # A tile that changed is looked at again too: its neighbours may have done so meanwhile.
            left = {tile for box in around for tile in self._grid.overlapping(box)}
        return count

    def _window(self, box: Box) -> np.ndarray:
        """What was found in a box and just around it; nothing beyond the image."""
        outer = box.grown(1, self._grid.shape)
        found: Any = np.array(self._found[outer.slices])
        pads = [
            (first - start + 1, stop + 1 - last)
            for (start, stop), (first, last) in zip(box.edges, outer.edges, strict=True)
        ]
        return np.pad(found, [*pads, (0, 0)])
