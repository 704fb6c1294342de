"""What the deep watershed is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellmill.morphology.tie_rules import TieRule
from cellmill.segmentation.parameters import beside, check_parameters, multiples, parameter
from cellmill.typed_json import require

MaximaAlgorithm = Literal["h_maxima", "peak_local_max"]


@dataclass(frozen=True)
class WatershedParameters:
    """Thresholds and radii in the reference's words and with its defaults; lengths in pixels.

    Raises:
        BadInput: a value is out of range.
    """

    maxima_threshold: float = parameter(
        0.1,
        "Least height of a maximum (h_maxima, more than 0), or the value it exceeds "
        "(peak_local_max).",
        tried=multiples(0.5, 0.7, 1.0, 1.4, 2.0),
    )
    maxima_smooth: float = parameter(
        0.0,
        "Sigma of a Gaussian on the maxima map, in pixels; 0 is none.",
        least=0,
        tried=beside(0.0, 1.0, 2.0),
    )
    interior_threshold: float = parameter(
        0.01,
        "Objects lie where the interior map exceeds this.",
        tried=multiples(0.5, 1, 1.5, 2),
    )
    interior_smooth: float = parameter(
        1.0,
        "Sigma of a Gaussian on the interior map, in pixels; 0 is none.",
        least=0,
        tried=beside(0.0, 1.0, 2.0),
    )
    pixel_expansion: int = parameter(
        0,
        "Grey dilation of the interior map by a square (cube) of this half side, in pixels.",
        least=0,
        tried=beside(),
    )
    radius: int = parameter(
        10,
        "Radius of the disk (ball) over which a maximum is looked at (h_maxima), or least distance "
        "of two peaks (peak_local_max), in pixels at the model's scale.",
        least=1,
        tried=beside(),
    )
    small_objects_fraction: float = parameter(
        0.0,
        "Objects below this part of the median area are dropped, and below half of it where the "
        "image's border cuts them. The median is that of the objects which "
        "small_objects_threshold left, before holes are filled. 0 is none.",
        least=0,
        most=1,
        tried=beside(0.0, 0.1, 0.2, 0.3),
    )
    small_objects_threshold: float = parameter(
        0.0, "Objects with fewer pixels, at the model's scale, are dropped.", least=0
    )
    fill_holes_threshold: float = parameter(
        0.0, "Holes with fewer pixels are filled; in images, not in volumes.", least=0
    )
    label_erosion: int = parameter(0, "Pixels taken off every object's edge.", least=0)
    maxima_algorithm: MaximaAlgorithm = parameter("h_maxima", "How markers are found.")
    exclude_border: int = parameter(
        0,
        "Markers this near to the image's border, in pixels, are left out; counts for "
        "peak_local_max only.",
        least=0,
    )
    tie_rule: TieRule = parameter(
        "local",
        "Between equal pixels of a flood: local, the same however an image is cut up, or "
        "reference, DeepCell's, for images that memory bears.",
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self.maxima_algorithm != "h_maxima" or self.maxima_threshold > 0,
            "maxima_threshold",
            "more than 0 for h_maxima",
            repr(self.maxima_threshold),
        )
