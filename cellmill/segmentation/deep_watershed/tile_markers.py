"""Markers of a tile: the maxima of a whole image that lie in it, each with its id in that image.

A marker is a connected set of maxima; its id is the place of its first pixel in raster order, so
that every tile which sees a part of it calls it the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import indices_in, places_in
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.morphology.hmaxima import Heights, joined_heights, maxima_in_window
from cellmill.morphology.maxima import ball_footprint, label_markers
from cellmill.morphology.reach import reach_of
from cellmill.morphology.smoothing import blur_margin, smooth
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters


@dataclass(frozen=True)
class _Around:
    """How far beyond a tile is looked.

    Attributes:
        halo: for what speaks against a maximum, at first.
        margin: for a maximum's other end, at first.
        growth: by which both grow where that was not enough.
    """

    halo: int
    margin: int
    growth: int


#: By the number of axes.
_AROUND = {2: _Around(64, 16, 4), 3: _Around(16, 4, 2)}


@dataclass(frozen=True)
class MaximaStatistics:
    """What the maxima of a whole image depend on.

    Attributes:
        heights: for `h_maxima`; None if the image can have none.
        peaks: for `peak_local_max`: their places in the image laid flat, ascending, int64.
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
    outer = box.grown(blur_margin(sigma), image.shape)
    return smooth(as_float32(image, outer, what), sigma)[box.within(outer)]


def maxima_statistics(
    maxima: Windowed, parameters: WatershedParameters, grid: Grid, threads: int | None = None
) -> MaximaStatistics:
    """Go once over a map of maxima for what its maxima depend on.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)`, float32 or what float32 holds.
        parameters: of the watershed.
        grid: the tiles that are read.
        threads: how many at once; None is as many as there are threads.

    Raises:
        BadInput: the map holds NaN or infinity.
    """
    tiles = range(len(grid))

    def read(tile: int) -> np.ndarray:
        return smoothed(maxima, parameters.maxima_smooth, grid.box(tile), "maxima map")

    if parameters.maxima_algorithm == "h_maxima":
        threshold = float(parameters.maxima_threshold)
        dtype = np.dtype(np.float32)
        return MaximaStatistics(joined_heights(read, tiles, threshold, dtype, threads))
    extremes = in_threads(lambda tile: (lambda a: (a.min(), a.max()))(read(tile)), tiles, threads)
    if not extremes or min(low for low, _ in extremes) == max(high for _, high in extremes):
        return MaximaStatistics(peaks=np.zeros(0, np.int64))
    return MaximaStatistics(peaks=_peaks(maxima, parameters, grid, threads))


def _peaks(
    maxima: Windowed, parameters: WatershedParameters, grid: Grid, threads: int | None
) -> np.ndarray:
    """Local maxima: of equal ones too near each other the first in raster order.

    Tiles that begin in the same row, or plane, are gone through together: what is before them in
    raster order is settled.
    """
    distance = int(parameters.radius)
    border = int(parameters.exclude_border)
    inner = Box.of([(min(border, side), max(side - border, 0)) for side in grid.shape])

    def candidates(tile: int) -> np.ndarray:
        box = grid.box(tile)
        outer = box.grown(distance, grid.shape)
        values = smoothed(maxima, parameters.maxima_smooth, outer, "maxima map")
        highest = ndimage.maximum_filter(values, size=2 * distance + 1, mode="nearest")
        core = values[box.within(outer)]
        found = (core == highest[box.within(outer)]) & (core > parameters.maxima_threshold)
        return places_in(np.flatnonzero(found), box, grid.shape)

    # Of a part of the image with sides of the distance no two peaks are kept: a place each, of the
    # parts in the last two layers along the first axis. An image's rows are planes of one row.
    first, *others = grid.shape
    rows = (first, *(1,) * (2 - len(others)), *others)
    layers = np.full((2, *(-(-side // distance) for side in rows[1:])), -1, np.int64)
    found = []
    across = len(grid) // max(grid.counts[0], 1)
    for start in range(0, len(grid), max(across, 1)):
        band = in_threads(candidates, range(start, start + across), threads)
        places = np.sort(np.concatenate(band))
        places = places[inner.holds(*np.unravel_index(places, grid.shape))]
        found.append(places[_keep_first(places, rows, distance, layers)])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


@kernel
def _keep_first(places, shape, distance, layers):  # type: ignore[no-untyped-def]
    """Which peaks, in raster order, are no nearer than the distance to one that is kept before."""
    _, height, width = shape
    _, high, wide = layers.shape
    kept = np.ones(len(places), np.bool_)
    for i in range(len(places)):
        rest, x = divmod(places[i], width)
        z, y = divmod(rest, height)
        k, j, n = z // distance, y // distance, x // distance
        for a in range(max(k - 1, 0), k + 1):
            for b in range(max(j - 1, 0), min(j + 2, high)):
                for c in range(max(n - 1, 0), min(n + 2, wide)):
                    other = layers[a % 2, b, c]
                    if other < 0:
                        continue
                    rest, u = divmod(other, width)
                    w, v = divmod(rest, height)
                    if max(z - w, abs(y - v), abs(x - u)) < distance:
                        kept[i] = False
        if kept[i]:
            layers[k % 2, j, n] = places[i]
    return kept


class Markers:
    """The markers of a whole image, to be asked for box by box.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)` map of maxima, as the network gave it.
        parameters: of the watershed.
        statistics: of the whole map.
    """

    def __init__(
        self, maxima: Windowed, parameters: WatershedParameters, statistics: MaximaStatistics
    ) -> None:
        self.maxima, self.parameters, self.statistics = maxima, parameters, statistics
        self.shape = tuple(maxima.shape)
        ndim = len(self.shape)
        self.reach = reach_of(ball_footprint(int(parameters.radius), ndim), ndim)
        self.around = _AROUND[ndim]

    def ids(self, box: Box) -> np.ndarray:
        """Ids of the markers in a box, 1 and up by place of their first pixel; 0 elsewhere.

        Returns:
            int64 of the box's shape: place of the first pixel in the image laid flat, plus 1.
        """
        margin = self.around.margin
        while True:
            outer = box.grown(margin, self.shape)
            parts = label_markers(self.mask(outer))
            inner = parts[box.within(outer)]
            left_open = np.intersect1d(inner, _at_cuts(parts, outer, self.shape))
            if not left_open.any():
                break
            margin *= self.around.growth
        places = np.flatnonzero(parts)
        _, first = np.unique(parts.reshape(-1)[places], return_index=True)
        named = np.zeros(len(first) + 1, np.int64)
        named[1:] = places_in(places[first], outer, self.shape) + 1
        return named[inner]

    def mask(self, box: Box) -> np.ndarray:
        """Where the maxima in a box are, bool."""
        found = np.zeros(box.shape, bool)
        peaks, heights = self.statistics.peaks, self.statistics.heights
        if peaks is not None:
            at = np.unravel_index(peaks[indices_in(peaks, box, self.shape)], self.shape)
            found[tuple(a - start for a, start in zip(at, box.origin, strict=True))] = True
            return found
        if heights is None:
            return found
        halo = max(self.around.halo, *self.reach.margins)
        while True:
            window = box.grown(halo, self.shape)
            values = smoothed(self.maxima, self.parameters.maxima_smooth, window, "maxima map")
            found, left_open = maxima_in_window(
                values, window, box, self.shape, self.reach, heights
            )
            if not len(left_open):
                return found
            halo *= self.around.growth


def _at_cuts(parts: np.ndarray, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Labels along those sides of a box that are not the image's own."""
    found = [np.zeros(0, parts.dtype)]
    for side in box.sides:
        axis, at_end = divmod(side, 2)
        if box.edges[axis][at_end] != (shape[axis] if at_end else 0):
            face = parts[box.face(side).within(box)]
            found.append(face[face > 0])
    return np.unique(np.concatenate(found))
