"""Total variation as deconvolution is told it: a weight, and the sizes of a voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cellmill.errors import BadInput

#: Of a gradient's length, as a part of the first object: flatter than this is flat.
FLAT = 1e-2


@dataclass(frozen=True)
class Variation:
    """How much of an object's total variation is avoided.

    Attributes:
        weight: λ; 0 is without.
        steps: sizes of a voxel `(z, y, x)` in units of the smallest.
    """

    weight: float = 0.0
    steps: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def of(cls, weight: float, spacing: Sequence[float] | None, axes: int) -> Variation:
        """Check what a user gave.

        Args:
            weight: λ.
            spacing: size of a voxel along each axis, in any unit; None is equal.
            axes: how many the image has.

        Raises:
            BadInput: there are other sizes, or the update could divide by nothing.
        """
        if spacing is not None and (
            len(spacing) != axes or not all(0 < size < math.inf for size in spacing)
        ):
            raise BadInput("spacing", expected=f"{axes} sizes above 0", found=f"{tuple(spacing)}")
        sizes = tuple(spacing or (1.0,) * axes)
        own = tuple(size / min(sizes) for size in sizes)
        if not weight >= 0:
            raise BadInput("total_variation", expected="0 or more", found=f"{weight:g}")
        limit = 1 / (2 * sum(1 / step for step in own))
        if weight >= limit:
            raise BadInput("total_variation", expected=f"below {limit:.3g}", found=f"{weight:g}")
        z, y, x = (1.0,) * (3 - axes) + own
        return cls(weight, (z, y, x))


NO_VARIATION = Variation()
