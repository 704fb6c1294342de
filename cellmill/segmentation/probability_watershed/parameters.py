"""What the probability watershed is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.parameters import beside, check_parameters, multiples, parameter

Seeds = Literal["distance", "probability"]

#: Over which a maximum is looked at, pixels.
_RADIUS = 2


@dataclass(frozen=True)
class ProbabilityWatershedParameters:
    """Thresholds, and how objects that touch are told apart; lengths in pixels.

    Raises:
        BadInput: a value is out of range.
    """

    threshold: float = parameter(
        0.5,
        "Objects lie where the probability exceeds this.",
        least=0,
        most=1,
        tried=beside(0.4, 0.5, 0.6),
    )
    seeds: Seeds = parameter(
        "distance",
        "Where objects begin: far from their edge, as round objects that touch, or where their "
        "probability is greatest.",
    )
    seed_smooth: float = parameter(
        1.0,
        "Sigma of a Gaussian on what seeds are maxima of, in pixels; 0 is none.",
        least=0,
        tried=beside(0.0, 1.0, 2.0),
    )
    distance_height: float = parameter(
        0.75,
        "Two seeds by distance are one, unless the objects are narrower between them by this on "
        "each side, in pixels.",
        above=0,
        tried=multiples(0.5, 1, 2),
    )
    probability_height: float = parameter(
        0.1,
        "Two seeds by probability are one, unless it falls by this between them.",
        above=0,
        most=1,
        tried=multiples(0.5, 1, 2),
    )
    largest_radius: int = parameter(
        48,
        "Beyond this distance from the edge, in pixels, an object is the same everywhere: what is "
        "wider has one seed there.",
        least=1,
        most=256,
    )
    small_objects_threshold: float = parameter(
        20.0,
        "Objects with fewer pixels, at the model's scale, are dropped.",
        least=0,
        tried=multiples(0.5, 1, 2),
    )
    fill_holes_threshold: float = parameter(
        20.0, "Holes with fewer pixels are filled; in images, not in volumes.", least=0
    )

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def watershed(self) -> WatershedParameters:
        """The same as the deep watershed takes it."""
        by_distance = self.seeds == "distance"
        return WatershedParameters(
            maxima_threshold=self.distance_height if by_distance else self.probability_height,
            maxima_smooth=self.seed_smooth,
            interior_threshold=self.threshold,
            interior_smooth=0.0,
            radius=_RADIUS,
            small_objects_threshold=self.small_objects_threshold,
            fill_holes_threshold=self.fill_holes_threshold,
        )
