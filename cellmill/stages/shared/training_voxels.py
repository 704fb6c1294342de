"""The voxels of the volumes that a network is taught by, and the layers that they ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cellmill.errors import BadInput
from cellmill.stages.shared.training_base import Base
from cellmill.training.images import TrainingImage
from cellmill.training.volume_network import VolumeShape

#: Voxels' depth beside their width may differ so many times between volumes, or from a base's.
_ALIKE = 1.25


@dataclass
class Voxels:
    """What is known of the voxels.

    Args:
        anisotropy: how many times as deep as wide they are; 0 until the volumes are read.
        shape: of the network.
    """

    anisotropy: float = 0.0
    shape: VolumeShape = field(default_factory=lambda: VolumeShape.for_voxels(1.0))

    def take_base(self, base: Base) -> None:
        """Take the voxels of a base's network.

        Raises:
            BadInput: it sees no volumes, or is not of `train_segmenter`.
        """
        made = base.card.training.get("network")
        if not base.card.input.sees_volumes or not isinstance(made, dict) or "pools" not in made:
            expected, found = "a model that train_segmenter made of volumes", base.card.name
            raise BadInput("base", expected=expected, found=f"'{found}'")
        self.shape = VolumeShape.from_card(made)
        self.anisotropy = float(base.card.training["anisotropy"])

    def read(self, volumes: Sequence[TrainingImage]) -> None:
        """Look at the volumes' voxels, and choose the network's layers by them without a base.

        Raises:
            BadInput: they are not known, or not alike.
        """
        known = self.anisotropy
        for image in volumes:
            if image.mpp is None or len(image.mpp) != 3:
                raise BadInput(
                    f"voxel size of '{image.name}'",
                    expected="microns along z, y and x, in the file or by Z_STEP and MPP",
                    found="none",
                )
            own = image.mpp[0] / math.sqrt(image.mpp[1] * image.mpp[2])
            self.anisotropy = self.anisotropy or own
            if not 1 / _ALIKE <= own / self.anisotropy <= _ALIKE:
                raise BadInput(
                    f"voxels of '{image.name}'",
                    expected=f"about {self.anisotropy:.3g} times as deep as wide, as of "
                    + ("the base" if known else f"'{volumes[0].name}'"),
                    found=f"{own:.3g} times",
                )
        if self.anisotropy and not known:
            self.shape = VolumeShape.for_voxels(self.anisotropy)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of voxels along Z, Y and X, in pixels of a plane."""
        return (self.anisotropy, 1.0, 1.0)

    @property
    def sees(self) -> int:
        """How many pixels of a plane in a row the network sees."""
        return 2 * max(self.shape.reach[1:]) + 1

    def said(self) -> dict[str, Any]:
        """What the card says of them."""
        return {
            "anisotropy": round(self.anisotropy, 4),
            "reach_zyx_px": list(self.shape.reach),
        }
