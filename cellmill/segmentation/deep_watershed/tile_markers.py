"""Markers of a tile: the maxima of a whole image that lie in it, each with its id in that image.

A marker is a connected set of maxima; its id is the place of its first pixel in raster order, so
that every tile which sees a part of it calls it the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.arrays.finite import require_finite
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.morphology.hmaxima import Heights, joined_heights, maxima_in_window
from cellmill.morphology.maxima import ball_footprint, label_markers
from cellmill.morphology.reach import reach_of
from cellmill.morphology.smoothing import blur_margin, smooth
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters

#: How far beyond a tile is looked first, for what speaks against a maximum and for its other end.
_HALO, _MARGIN = 64, 16
_PASS = 2048


@dataclass(frozen=True)
class MaximaStatistics:
    """What the maxima of a whole image depend on.

    Attributes:
        heights: for `h_maxima`; None if the image can have none.
        peaks: for `peak_local_max`: places `y * width + x` in ascending order, int64.
    """

    heights: Heights | None = None
    peaks: np.ndarray | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays of an `.npz`."""
        found: dict[str, np.ndarray] = {}
        if self.heights is not None:
            found["heights"] = np.array([np.asarray(value) for value in self.heights])
        if self.peaks is not None:
            found["peaks"] = self.peaks
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> MaximaStatistics:
        """Read what `to_arrays` gave."""
        heights = Heights(*arrays["heights"]) if "heights" in arrays else None
        return cls(heights, arrays.get("peaks"))


def as_float32(image: Windowed, window: Box, what: str) -> np.ndarray:
    """Read a window of a map as float32.

    Raises:
        BadInput: it holds NaN or infinity, or values that float32 does not.
    """
    values = np.asarray(image[window.slices])
    found = values.astype(np.float32, copy=False)
    require_finite(found, what)
    if values.dtype.itemsize > 4 and not np.array_equal(found, values):
        raise BadInput(what, expected="values that float32 holds", found=str(values.dtype))
    return found


def smoothed(image: Windowed, sigma: float, box: Box, what: str) -> np.ndarray:
    """A box of an image that is blurred as a whole."""
    outer = box.grown(blur_margin(sigma), (image.shape[0], image.shape[1]))
    return smooth(as_float32(image, outer, what), sigma)[box.within(outer)]


def maxima_statistics(
    maxima: Windowed, parameters: WatershedParameters, side: int = _PASS
) -> MaximaStatistics:
    """Go once over a map of maxima for what its maxima depend on.

    Args:
        maxima: `(Y, X)`, float32 or what float32 holds.
        parameters: of the watershed.
        side: of the windows that are read, pixels.

    Raises:
        BadInput: the map holds NaN or infinity.
    """
    shape = (maxima.shape[0], maxima.shape[1])
    grid = Grid(shape, side)

    def read(tile: int) -> np.ndarray:
        return smoothed(maxima, parameters.maxima_smooth, grid.box(tile), "maxima map")

    if parameters.maxima_algorithm == "h_maxima":
        threshold = float(parameters.maxima_threshold)
        tiles = range(len(grid))
        return MaximaStatistics(joined_heights(read, tiles, threshold, np.dtype(np.float32)))
    extremes = in_threads(lambda tile: (lambda a: (a.min(), a.max()))(read(tile)), range(len(grid)))
    if not extremes or min(low for low, _ in extremes) == max(high for _, high in extremes):
        return MaximaStatistics(peaks=np.zeros(0, np.int64))
    return MaximaStatistics(peaks=_peaks(maxima, parameters, max(side**2 // max(shape[1], 1), 1)))


def _peaks(maxima: Windowed, parameters: WatershedParameters, rows: int) -> np.ndarray:
    """Local maxima band by band: of equal ones too near each other the first in raster order."""
    height, width = maxima.shape[0], maxima.shape[1]
    distance = int(parameters.radius)
    border = int(parameters.exclude_border)
    found = []
    # Rows above the band in which kept peaks may still reject.
    kept = np.zeros((distance, width), bool)
    for y in range(0, height, rows):
        box = Box(y, min(y + rows, height), 0, width)
        outer = box.grown(distance, (height, width))
        values = smoothed(maxima, parameters.maxima_smooth, outer, "maxima map")
        highest = ndimage.maximum_filter(values, size=2 * distance + 1, mode="nearest")
        core = values[box.within(outer)]
        candidates = (core == highest[box.within(outer)]) & (core > parameters.maxima_threshold)
        if border:
            candidates[: max(border - y, 0)] = False
            candidates[max(height - border - y, 0) :] = False
            candidates[:, :border] = False
            candidates[:, width - border if border < width else 0 :] = False
        both = np.concatenate([kept, candidates])
        _keep_first(both, distance)
        found.append(np.flatnonzero(both[distance:]) + y * width)
        kept = both[len(both) - distance :]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


@kernel
def _keep_first(peaks, distance):  # type: ignore[no-untyped-def]
    """Unset peaks nearer than the distance to an earlier one; the first rows are settled."""
    height, width = peaks.shape
    for y in range(distance, height):
        for x in range(width):
            if not peaks[y, x]:
                continue
            for v in range(max(y - distance + 1, 0), y + 1):
                stop = min(x + distance, width) if v < y else x
                for u in range(max(x - distance + 1, 0), stop):
                    if peaks[v, u]:
                        peaks[y, x] = False


class Markers:
    """The markers of a whole image, to be asked for box by box.

    Args:
        maxima: `(Y, X)` map of maxima, as the network gave it.
        parameters: of the watershed.
        statistics: of the whole map.
    """

    def __init__(
        self, maxima: Windowed, parameters: WatershedParameters, statistics: MaximaStatistics
    ) -> None:
        self.maxima, self.parameters, self.statistics = maxima, parameters, statistics
        self.shape = (maxima.shape[0], maxima.shape[1])
        self.reach = reach_of(ball_footprint(int(parameters.radius), 2), 2)

    def ids(self, box: Box) -> np.ndarray:
        """Ids of the markers in a box, 1 and up by place of their first pixel; 0 elsewhere.

        Returns:
            int64 of the box's shape: place `y * width + x` of the first pixel, plus 1.
        """
        margin = _MARGIN
        while True:
            outer = box.grown(margin, self.shape)
            parts = label_markers(self.mask(outer))
            inner = parts[box.within(outer)]
            left_open = np.intersect1d(inner, _at_cuts(parts, outer, self.shape))
            if not left_open.any():
                break
            margin *= 4
        places = np.flatnonzero(parts)
        _, first = np.unique(parts.reshape(-1)[places], return_index=True)
        y, x = np.divmod(places[first], parts.shape[1])
        named = np.zeros(len(first) + 1, np.int64)
        named[1:] = (y + outer.y0) * self.shape[1] + x + outer.x0 + 1
        return named[inner]

    def mask(self, box: Box) -> np.ndarray:
        """Where the maxima in a box are, bool."""
        found = np.zeros(box.shape, bool)
        peaks, heights = self.statistics.peaks, self.statistics.heights
        if peaks is not None:
            for y in range(box.y0, box.y1):
                edges = y * self.shape[1] + np.array([box.x0, box.x1])
                start, stop = np.searchsorted(peaks, edges)
                found[y - box.y0, peaks[start:stop] - edges[0]] = True
            return found
        if heights is None:
            return found
        halo = max(_HALO, *self.reach.margins)
        while True:
            window = box.grown(halo, self.shape)
            values = smoothed(self.maxima, self.parameters.maxima_smooth, window, "maxima map")
            found, left_open = maxima_in_window(
                values, window, box, self.shape, self.reach, heights
            )
            if not len(left_open):
                return found
            halo *= 4


def _at_cuts(parts: np.ndarray, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """Labels along those sides of a box that are not the image's own."""
    sides: list[Any] = []
    for cut, line in (
        (box.y0 > 0, parts[:1]),
        (box.y1 < shape[0], parts[-1:]),
        (box.x0 > 0, parts[:, :1]),
        (box.x1 < shape[1], parts[:, -1:]),
    ):
        if cut:
            sides.append(line[line > 0])
    return np.unique(np.concatenate(sides)) if sides else np.zeros(0, parts.dtype)


Reader = Callable[[Box], np.ndarray]
