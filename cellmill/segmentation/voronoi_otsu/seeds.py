"""Where objects begin and how far they may go: seeds and mask, of an image or of a window of one.

Both come from blurred images, so that a window needs what is around it: `Blurs.margins` says how
much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellmill.morphology.growth import Metric, alternating_metric, path_metric
from cellmill.morphology.maxima import SHOULDER, STRICT, label_places, neighbour_maxima
from cellmill.morphology.smoothing import margin_per_axis, smooth_per_axis
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters

#: How far `neighbour_maxima` looks.
REACH = 2


@dataclass(frozen=True)
class Blurs:
    """The parameters as they are for an image of some spacing.

    Attributes:
        spot: σ along each axis of the blur before spots are looked for, pixels.
        outline: the same of the blur before the threshold.
        strict: spots are single pixels above all of their neighbours.
        metric: how seeds grow.
    """

    spot: tuple[float, ...]
    outline: tuple[float, ...]
    strict: bool
    metric: Metric

    @classmethod
    def of(
        cls, parameters: VoronoiOtsuParameters, mpp: tuple[float, ...] | None, ndim: int
    ) -> Blurs:
        """For images of so many axes and this pixel size.

        Raises:
            BadInput: see `VoronoiOtsuParameters.sigmas`.
        """
        spot, outline = parameters.sigmas(mpp, ndim)
        strict = parameters.rule == "clesperanto"
        spacing = parameters.spacing(mpp, ndim)
        metric = alternating_metric(ndim) if strict else path_metric(spacing)
        return cls(spot, outline, strict, metric)

    @property
    def margins(self) -> tuple[int, ...]:
        """What must be known around a window, pixels along each axis."""
        return tuple(
            max(spot + REACH, outline)
            for spot, outline in zip(
                margin_per_axis(self.spot), margin_per_axis(self.outline), strict=True
            )
        )

    def outlined(self, image: np.ndarray) -> np.ndarray:
        """The image that is thresholded, float32."""
        return smooth_per_axis(image, self.outline)


@dataclass(frozen=True)
class Spots:
    """Pixels at which objects begin.

    Attributes:
        places: in the image or window laid flat, int64, ascending.
        ids: the seed of each, 1…n in raster order of first pixels, int32.
    """

    places: np.ndarray
    ids: np.ndarray

    def without(self, ids: np.ndarray) -> Spots:
        """The spots without some seeds; ids are kept."""
        kept = ~np.isin(self.ids, ids)
        return Spots(self.places[kept], self.ids[kept])


def spots_in(
    image: np.ndarray,
    mask: np.ndarray,
    blurs: Blurs,
    core: tuple[slice, ...] = (),
) -> Spots:
    """Find the spots of an image within its mask, or of a window of it.

    Args:
        image: `(Y, X)` or `(Z, Y, X)` float32, not blurred; with a margin around the mask.
        mask: bool.
        blurs: the parameters.
        core: where in the image the mask lies; empty for all of it.

    Returns:
        Spots of the mask's shape. By the rule `right` a plateau is a seed if it is a maximum; as
        far as it lies in the mask it must nowhere touch an equal pixel that is below another.
    """
    kinds = neighbour_maxima(smooth_per_axis(image, blurs.spot))[core]
    wanted = (kinds == STRICT) if blurs.strict else (kinds > 0)
    places = np.flatnonzero(wanted & mask)
    found = Spots(places, label_places(places, mask.shape))
    if blurs.strict:
        return found
    shoulders = found.ids[kinds.reshape(-1)[places] == SHOULDER]
    return found.without(np.unique(shoulders)) if len(shoulders) else found
