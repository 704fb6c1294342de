"""How far pixels of objects are from the edge, of a whole map or of windows of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Box, Windowed
from cellmill.morphology.distances import capped_distances
from cellmill.segmentation.probability_watershed.parameters import ProbabilityWatershedParameters

#: How far beyond a window is looked first for what is no object, in pixels of the finest axis.
_AROUND = 16


def edge_distances(
    probability: np.ndarray,
    parameters: ProbabilityWatershedParameters,
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Distance of each pixel of an object from what is none, at most `largest_radius`.

    The border of the map is no edge.

    Args:
        probability: `(Y, X)` or `(Z, Y, X)`.
        parameters: `threshold` and `largest_radius` count.
        spacing: of pixels along each axis; none is 1.

    Returns:
        float32 of the same shape, 0 outside of objects.
    """
    mask = probability > float(parameters.threshold)
    return capped_distances(mask, parameters.largest_radius, spacing)


def spacing_of(mpp: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """Of pixels along each axis, in pixels along X: of a volume's voxels as far as it is known."""
    return tuple(each / mpp[-1] for each in mpp) if mpp and ndim == 3 else (1.0,) * ndim


@dataclass(frozen=True)
class SeedMap:
    """What seeds are maxima of, computed where it is read: the distances of a map, or the map.

    Args:
        probability: the map, `(Y, X)` or `(Z, Y, X)`.
        parameters: `seeds` counts, and what `edge_distances` takes.
        name: of the map, for messages.
        spacing: of pixels along each axis.
    """

    probability: Windowed
    parameters: ProbabilityWatershedParameters
    name: str
    spacing: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the map."""
        return self.probability.shape

    @property
    def dtype(self) -> np.dtype:
        """Of distances, or of the map."""
        by_distance = self.parameters.seeds == "distance"
        return np.dtype(np.float32) if by_distance else self.probability.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Compute a window, from as much around it as tells of each pixel."""
        if self.parameters.seeds == "probability":
            return self._read(window)
        box, rest = box_of(window, self.shape, len(self.shape))
        for around in (_AROUND, self.parameters.largest_radius):
            margins = tuple(math.ceil(around / step) + 1 for step in self.spacing)
            outer = box.grown(margins, self.shape)
            found = edge_distances(self._read(outer.slices), self.parameters, self.spacing)
            found = found[box.within(outer)]
            if self._settled(found, box, outer):
                break
        chosen: np.ndarray = found[rest]
        return chosen

    def _read(self, window: Any) -> np.ndarray:
        values = np.asarray(self.probability[window])
        require_finite(values, self.name)
        return values

    def _settled(self, found: np.ndarray, box: Box, outer: Box) -> bool:
        """Whether no pixel of a box is as near to what is beyond a window as it was found to be."""
        for axis, (start, stop) in enumerate(box.edges):
            (first, last), along = outer.edges[axis], np.arange(start, stop)
            room = np.full(stop - start, np.inf)
            if first > 0:
                room = np.minimum(room, (along - first + 1) * self.spacing[axis])
            if last < self.shape[axis]:
                room = np.minimum(room, (last - along) * self.spacing[axis])
            # Less a little: what lies there is nearer than what was found, not as near but for
            # rounding.
            room *= 1 - 1e-6
            if (found > room.reshape(-1, *(1,) * (len(box.edges) - axis - 1))).any():
                return False
        return True
