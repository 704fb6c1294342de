"""What StarDist's post-processing is told."""

from __future__ import annotations

from dataclasses import dataclass

from cellmill.segmentation.parameters import beside, check_parameters, parameter


@dataclass(frozen=True)
class StarDistParameters:
    """Thresholds in StarDist's words and with its defaults.

    Raises:
        BadInput: a value is out of range.
    """

    prob_threshold: float = parameter(
        0.5,
        "A value is a candidate for an object if its probability exceeds this.",
        least=0,
        most=1,
        tried=beside(0.3, 0.4, 0.5, 0.6, 0.7),
    )
    nms_threshold: float = parameter(
        0.4,
        "A candidate is dropped if it shares more than this part of the smaller of two areas (in "
        "volumes, of two volumes) with "
        "a candidate of higher probability that stays.",
        least=0,
        most=1,
        tried=beside(0.3, 0.4, 0.5),
    )
    border: int = parameter(
        2,
        "So many values of the maps along the image's border are no candidates.",
        least=0,
        most=1024,
    )

    anisotropy_z: float = parameter(
        1.0,
        "Of the rays of volumes: how many times fewer voxels the network takes objects to have "
        "along Z than along the axis that has most.",
        above=0,
    )
    anisotropy_y: float = parameter(1.0, "The same along Y.", above=0)
    anisotropy_x: float = parameter(1.0, "The same along X.", above=0)

    @property
    def anisotropy(self) -> tuple[float, float, float]:
        """Of the rays of volumes, along Z, Y, X."""
        return self.anisotropy_z, self.anisotropy_y, self.anisotropy_x

    def __post_init__(self) -> None:
        check_parameters(self)
