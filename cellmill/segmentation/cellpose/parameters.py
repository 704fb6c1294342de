"""What Cellpose's masks step is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cellmill.segmentation.parameters import beside, check_parameters, parameter

Rule = Literal["right", "reference", "cellpose4"]

#: Steps of a walk where nobody says: the reference's, at the network's own scale.
AUTOMATIC_STEPS = 200


@dataclass(frozen=True)
class CellposeParameters:
    """Thresholds in the reference's words and with its defaults; lengths in pixels.

    Raises:
        BadInput: a value is out of range.
    """

    flow_threshold: float = parameter(
        0.4,
        "Objects whose own flows differ from the network's by more than this (mean square) are "
        "dropped; 0 drops none. In images, and in planes that are stitched; not in volumes.",
        least=0,
        tried=beside(0.2, 0.4, 0.6, 0.8),
    )
    cellprob_threshold: float = parameter(
        0.0,
        "Pixels belong to objects where the map of probability, a logit, exceeds this.",
        tried=beside(-2.0, -1.0, 0.0, 1.0),
    )
    niter: int = parameter(
        0,
        "Steps that each pixel follows the flows; 0 is 200, the reference's at the network's own "
        "scale.",
        least=0,
        most=100_000,
    )
    min_size: int = parameter(
        15,
        "Objects with fewer pixels, at the model's scale, are dropped; 0 or -1 drops none.",
        least=-1,
    )
    max_size_fraction: float = parameter(
        0.4, "Objects of more than this part of the image are dropped.", above=0, most=1
    )
    rule: Rule = parameter(
        "right",
        "right; or reference, what cellpose 3.1.1.3 does: once it has dropped any object it takes "
        "others for small ones, and in volumes walks depend on the size of the volume; or "
        "cellpose4, what cellpose 4.2.1.1 does: in images too walks depend on the size, by up to "
        "half a pixel, and objects that touch count in each other's flows.",
    )
    stitch_threshold: float = parameter(
        0.0,
        "For heads of a volume that have flows within planes: objects of neighbouring planes that "
        "overlap by at least this IoU are one. Where `predict` gave the network planes, "
        "postprocess's own stitch_threshold counts, and this does not.",
        least=0,
        most=1,
    )

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def joins(self) -> Literal["right", "reference"]:
        """The rule by which planes are joined, and by which volumes are walked through."""
        return "right" if self.rule == "right" else "reference"

    @property
    def steps(self) -> int:
        """Steps of a walk."""
        return self.niter or AUTOMATIC_STEPS
