"""The watershed of a whole image, tile by tile, each with the image's own ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import Box, Grid, Windowed, WritableWindowed
from cellmill.labels.numbering import dense_ranks
from cellmill.morphology.flooding import flood_tiles
from cellmill.morphology.seams import Face, Flooded
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.deep_watershed.tile_markers import Markers, MaximaStatistics, smoothed

#: Most floods stay in this halo, by the number of axes.
_HALO = {2: 64, 3: 24}
#: In an image a CPU's second-level cache bears tiles of this side, with a halo of their own; a
#: volume's block is flooded at once.
_CACHED, _CACHED_HALO = 384, 32


class TileFlooder:
    """Floods the tiles of an image, whichever is asked for.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)` map of maxima.
        interior: same shape, map of the interior.
        parameters: of the watershed.
        statistics: of the whole map of maxima.
        labels: same shape, int64, where ids of markers go; all zero at first.
        grid: the tiles.
    """

    def __init__(
        self,
        maxima: Windowed,
        interior: Windowed,
        parameters: WatershedParameters,
        statistics: MaximaStatistics,
        labels: WritableWindowed,
        grid: Grid,
    ) -> None:
        self.interior, self.parameters, self.grid = interior, parameters, grid
        self.labels = labels
        self._halo = _HALO[len(grid.shape)]
        self.markers = Markers(maxima, parameters, statistics)

    def first(self, tile: int) -> Flooded:
        """Flood a tile with a halo around it."""
        box = self.grid.box(tile)
        return self._flood(box, box.grown(self._halo, self.grid.shape), {})

    def again(self, tile: int, rim: Mapping[int, Face]) -> Flooded:
        """Flood a tile from its markers and from its neighbours' outermost pixels."""
        box = self.grid.box(tile)
        return self._flood(box, box, rim)

    def _flood(self, box: Box, window: Box, rim: Mapping[int, Face]) -> Flooded:
        height = self._height(window)
        mask = height > float(self.parameters.interior_threshold)
        inside_boxes = {side: box.face(side) for side in box.sides}
        if not mask.any():
            # Nothing to flood: neither markers nor neighbours count. The zeros are written all the
            # same: a tile that nobody wrote is one that is missing.
            self.labels[box.slices] = np.zeros(box.shape, np.int64)
            dry = {side: Face.dry(part.shape, np.int64) for side, part in inside_boxes.items()}
            return Flooded(dry, {}, empty=True)
        beyond = {side: box.face(side, beyond=True) for side, _ in self._neighbours(box)}
        sides = [side for side, face in rim.items() if face.labels.any()]
        ids, (markers, *owners) = dense_ranks(
            self.markers.ids(window), *(rim[side].labels for side in sides)
        )
        around = {side: Face(rim[side].keys, own) for side, own in zip(sides, owners, strict=True)}
        flooded = np.zeros(window.shape, np.int32)
        within = [-start for start in window.origin]
        wanted = [*inside_boxes.values(), *(() if rim else beyond.values())]
        keys = {part.moved(*within): np.zeros(part.shape, np.uint64) for part in wanted}

        def write(part: Box, labels: np.ndarray) -> None:
            flooded[part.slices] = labels

        def keep(part: Box, values: np.ndarray) -> None:
            for face, into in keys.items():
                common = face.common(part)
                if common:
                    into[common.within(face)] = values[common.within(part)]

        def read(part: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return height[part.slices], markers[part.slices], mask[part.slices]

        side = _CACHED if len(window.shape) == 2 else max(window.shape)
        parts = Grid(window.shape, side)
        flood_tiles(read, write, parts, _CACHED_HALO, None, around, [*keys], keep)
        self.labels[box.slices] = ids[flooded[box.within(window)]]

        def face_of(part: Box) -> Face:
            labels = flooded[part.within(window)]
            found = np.where(labels > 0, keys[part.moved(*within)], np.uint64(0))
            return Face(found, ids[labels])

        inside = {side: face_of(part) for side, part in inside_boxes.items()}
        if rim:
            return Flooded(inside, {side: face.digest() for side, face in rim.items()})
        return Flooded(inside, {side: face_of(part).digest() for side, part in beyond.items()})

    def _neighbours(self, box: Box) -> list[tuple[int, int]]:
        return self.grid.neighbours(self.grid.overlapping(box)[0])

    def _height(self, window: Box) -> np.ndarray:
        reach = self.parameters.pixel_expansion
        outer = window.grown(reach, self.grid.shape)
        height = smoothed(self.interior, self.parameters.interior_smooth, outer, "interior map")
        if reach:
            height = ndimage.maximum_filter(height, size=2 * reach + 1, mode="nearest")
        return np.ascontiguousarray(height[window.within(outer)])


def to_bytes(flooded: Flooded) -> bytes:
    """What a tile's flood gave, to be kept."""
    arrays: dict[str, Any] = {"empty": np.array(flooded.empty)}
    for side, face in flooded.inside.items():
        arrays[f"keys{side}"], arrays[f"labels{side}"] = face.keys, face.labels
    for side, digest in flooded.belief.items():
        arrays[f"belief{side}"] = np.frombuffer(digest, np.uint8)
    return packed(**arrays)


def from_bytes(payload: bytes) -> Flooded:
    """Read what `to_bytes` made."""
    arrays = unpacked(payload)
    sides = (int(name.removeprefix("keys")) for name in arrays if name.startswith("keys"))
    inside = {side: Face(arrays[f"keys{side}"], arrays[f"labels{side}"]) for side in sides}
    belief = {
        int(name.removeprefix("belief")): values.tobytes()
        for name, values in arrays.items()
        if name.startswith("belief")
    }
    return Flooded(inside, belief, bool(arrays["empty"]))
