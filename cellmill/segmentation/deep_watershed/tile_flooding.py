"""The watershed of a whole image, tile by tile, each with the image's own ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.arrays.store import packed, unpacked
from cellmill.arrays.windows import BOTTOM, LEFT, RIGHT, TOP, Box, Grid, Windowed, WritableWindowed
from cellmill.labels.numbering import dense_ranks
from cellmill.morphology.flooding import Flooded, Line, flood_tiles
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.deep_watershed.tile_markers import Markers, MaximaStatistics, smoothed

#: Most floods stay in this halo; a CPU's second-level cache bears tiles of this side.
_HALO, _CACHED, _CACHED_HALO = 64, 384, 32


class TileFlooder:
    """Floods the tiles of an image, whichever is asked for.

    Args:
        maxima: `(Y, X)` map of maxima.
        interior: `(Y, X)` map of the interior.
        parameters: of the watershed.
        statistics: of the whole map of maxima.
        labels: `(Y, X)` int64, where ids of markers go; all zero at first.
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
        self.markers = Markers(maxima, parameters, statistics)

    def first(self, tile: int) -> Flooded:
        """Flood a tile with a halo around it."""
        box = self.grid.box(tile)
        return self._flood(box, box.grown(_HALO, self.grid.shape), {})

    def again(self, tile: int, rim: Mapping[int, Line]) -> Flooded:
        """Flood a tile from its markers and from its neighbours' outermost pixels."""
        box = self.grid.box(tile)
        return self._flood(box, box, rim)

    def _flood(self, box: Box, window: Box, rim: Mapping[int, Line]) -> Flooded:
        height = self._height(window)
        mask = height > float(self.parameters.interior_threshold)
        sides = [side for side, line in rim.items() if line.labels.any()]
        inside_boxes = {side: _line(box, side) for side in (TOP, BOTTOM, LEFT, RIGHT)}
        beyond = {side: _beyond(box, side) for side, _ in self._neighbours(box)}
        if not mask.any():
            # Nothing to flood: neither markers nor neighbours count. The zeros are written all the
            # same: a tile that nobody wrote is one that is missing.
            self.labels[box.slices] = np.zeros(box.shape, np.int64)
            nothing = {
                side: Line(np.zeros(_length(b), np.uint64), np.zeros(_length(b), np.int64))
                for side, b in inside_boxes.items()
            }
            return Flooded(nothing, {}, empty=True)
        ids, (markers, *lines) = dense_ranks(
            self.markers.ids(window), *(rim[side].labels for side in sides)
        )
        around = {side: Line(rim[side].keys, line) for side, line in zip(sides, lines, strict=True)}
        flooded = np.zeros(window.shape, np.int32)
        keys: dict[Box, np.ndarray] = {}
        wanted = list(inside_boxes.values()) + ([] if rim else list(beyond.values()))
        shifted = {_moved(part, window): part for part in wanted}
        for part in shifted:
            keys[part] = np.zeros(part.shape, np.uint64)

        def write(part: Box, labels: np.ndarray) -> None:
            flooded[part.slices] = labels

        def keep(part: Box, values: np.ndarray) -> None:
            for line, into in keys.items():
                common = line.common(part)
                if common:
                    into[common.within(line)] = values[common.within(part)]

        def read(part: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return height[part.slices], markers[part.slices], mask[part.slices]

        flood_tiles(
            read, write, Grid(window.shape, _CACHED), _CACHED_HALO, None, around, [*shifted], keep
        )
        self.labels[box.slices] = ids[flooded[box.within(window)]]

        def line_of(part: Box) -> Line:
            shown = _moved(part, window)
            labels = flooded[shown.slices].reshape(-1)
            found = np.where(labels > 0, keys[shown].reshape(-1), np.uint64(0))
            return Line(found, ids[labels])

        inside = {side: line_of(part) for side, part in inside_boxes.items()}
        if rim:
            return Flooded(inside, {side: line.digest() for side, line in rim.items()})
        return Flooded(inside, {side: line_of(part).digest() for side, part in beyond.items()})

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
    for side, line in flooded.inside.items():
        arrays[f"keys{side}"], arrays[f"labels{side}"] = line.keys, line.labels
    for side, digest in flooded.belief.items():
        arrays[f"belief{side}"] = np.frombuffer(digest, np.uint8)
    return packed(**arrays)


def from_bytes(payload: bytes) -> Flooded:
    """Read what `to_bytes` made."""
    arrays = unpacked(payload)
    inside = {
        side: Line(arrays[f"keys{side}"], arrays[f"labels{side}"])
        for side in (TOP, BOTTOM, LEFT, RIGHT)
    }
    belief = {
        int(name.removeprefix("belief")): values.tobytes()
        for name, values in arrays.items()
        if name.startswith("belief")
    }
    return Flooded(inside, belief, bool(arrays["empty"]))


def _line(box: Box, side: int) -> Box:
    """The outermost pixels of a box along a side."""
    return {
        TOP: Box(box.y0, box.y0 + 1, box.x0, box.x1),
        BOTTOM: Box(box.y1 - 1, box.y1, box.x0, box.x1),
        LEFT: Box(box.y0, box.y1, box.x0, box.x0 + 1),
        RIGHT: Box(box.y0, box.y1, box.x1 - 1, box.x1),
    }[side]


def _beyond(box: Box, side: int) -> Box:
    """The pixels just beyond a box along a side."""
    return {
        TOP: Box(box.y0 - 1, box.y0, box.x0, box.x1),
        BOTTOM: Box(box.y1, box.y1 + 1, box.x0, box.x1),
        LEFT: Box(box.y0, box.y1, box.x0 - 1, box.x0),
        RIGHT: Box(box.y0, box.y1, box.x1, box.x1 + 1),
    }[side]


def _moved(box: Box, window: Box) -> Box:
    y, x = box.within(window)
    return Box(y.start, y.stop, x.start, x.stop)


def _length(line: Box) -> int:
    return max(line.shape)
