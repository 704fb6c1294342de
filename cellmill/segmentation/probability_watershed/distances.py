"""How far pixels of objects are from the edge, of a whole map or of windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Windowed
from cellmill.segmentation.probability_watershed.parameters import ProbabilityWatershedParameters


def capped_distances(
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
    most = float(parameters.largest_radius)
    if mask.all():
        return np.full(mask.shape, most, np.float32)
    distances = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.minimum(distances, most).astype(np.float32)


@dataclass(frozen=True)
class SeedMap:
    """What seeds are maxima of, computed where it is read: the distances of a map, or the map.

    Args:
        probability: the map, `(Y, X)`.
        parameters: `seeds` counts, and what `capped_distances` takes.
        name: of the map, for messages.
    """

    probability: Windowed
    parameters: ProbabilityWatershedParameters
    name: str

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
        """Compute a window: an edge that counts is no farther away than the largest distance."""
        if self.parameters.seeds == "probability":
            values = np.asarray(self.probability[window])
            require_finite(values, self.name)
            return values
        box, rest = box_of(window, self.shape)
        high, wide = self.shape
        outer = box.grown(self.parameters.largest_radius + 1, (high, wide))
        probability = np.asarray(self.probability[outer.slices])
        require_finite(probability, self.name)
        found = capped_distances(probability, self.parameters)[box.within(outer)]
        chosen: np.ndarray = found[rest]
        return chosen
