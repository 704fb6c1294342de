"""What Voronoi-Otsu is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellmill.errors import BadInput
from cellmill.segmentation.parameters import check_parameters, multiples, parameter
from cellmill.typed_json import require

Rule = Literal["right", "clesperanto"]
Unit = Literal["pixel", "micron"]


@dataclass(frozen=True)
class VoronoiOtsuParameters:
    """Widths of the two blurs, and by which rule objects are told apart.

    Raises:
        WrongField: a value is out of range, or contradicts another.
    """

    spot_sigma: float = parameter(
        2.0,
        "Sigma of the Gaussian before bright spots are looked for, in `unit`: the larger, the "
        "fewer objects. 0 is none.",
        least=0,
        tried=multiples(0.5, 0.7, 1.0, 1.4, 2.0),
    )
    outline_sigma: float = parameter(
        2.0,
        "Sigma of the Gaussian before Otsu's threshold, in `unit`: the larger, the smoother the "
        "outlines. 0 is none.",
        least=0,
        tried=multiples(0.5, 1.0, 2.0),
    )
    unit: Unit = parameter(
        "pixel",
        "Of both sigmas: pixel is that of the finer of Y and X, other axes have the same length in "
        "microns where the pixel size is known; micron needs it to be.",
    )
    rule: Rule = parameter(
        "right",
        "right: a spot may be a plateau, and each pixel goes to the seed of the shortest path "
        "through the mask, spacing counted. clesperanto: as pyclesperanto has it: single pixels, "
        "steps over all neighbours and over faces in turn, the larger label first, spacing "
        "ignored.",
    )
    small_objects_threshold: float = parameter(
        0.0,
        "Objects with fewer pixels, at the model's scale, are dropped.",
        least=0,
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        require(
            self.rule != "clesperanto" or self.unit == "pixel",
            "unit",
            "pixel for rule clesperanto",
            repr(self.unit),
        )

    def sigmas(
        self, mpp: tuple[float, ...] | None, ndim: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The sigmas of both blurs (spots, outline) along each axis, in pixels.

        Args:
            mpp: µm per pixel, an axis each; none where unknown.
            ndim: number of axes.

        Raises:
            BadInput: they are in microns and the pixel size is unknown.
        """
        if self.unit == "micron" and mpp is None:
            raise BadInput("unit", expected="pixel, as the pixel size is unknown", found="micron")
        factors = [1.0] * ndim
        if self.rule != "clesperanto" and mpp is not None:
            # Planes may lie closer than pixels of a volume whose planes were reduced.
            factors = [min(mpp[-2:]) / each for each in mpp]
        if self.unit == "micron" and mpp is not None:
            factors = [1 / each for each in mpp]
        spot, outline = (
            tuple(sigma * factor for factor in factors)
            for sigma in (self.spot_sigma, self.outline_sigma)
        )
        return spot, outline

    def spacing(self, mpp: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
        """The distance of neighbouring pixels along each axis; 1 is that of the finest."""
        if self.rule == "clesperanto" or mpp is None:
            return (1.0,) * ndim
        return tuple(each / min(mpp) for each in mpp)
