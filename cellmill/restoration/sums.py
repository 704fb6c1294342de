"""What the blocks of an iteration add up to, and what follows from it for the iterations after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from cellmill.restoration.consensus import LEAST_AGREED
from cellmill.restoration.deconvolution import Iteration


@dataclass(frozen=True)
class Sums:
    """Of one block, or of all blocks of an iteration.

    Attributes:
        divergence: I-divergence of the model from what was acquired, before the iteration.
        change: Σ |new - old|.
        total: Σ old.
        agreed: Σ old of the voxels that went on; all of them without consensus.
        along: Σ step · step before, of acceleration; 0 without.
        square: Σ (step before)².
    """

    divergence: float
    change: float
    total: float
    agreed: float
    along: float = 0.0
    square: float = 0.0

    @property
    def factor(self) -> float:
        """How far the next iteration is extrapolated (Biggs and Andrews 1997, of first order)."""
        return min(max(self.along / self.square, 0.0), 1.0) if self.square > 0 else 0.0

    @property
    def ends(self) -> bool:
        """Whether so little of the light went on that all that can be known is in the object."""
        return self.agreed < LEAST_AGREED * self.total

    def iteration(self, measured: int) -> Iteration:
        """The same as an entry of the curve, of an image with so many voxels that were measured."""
        agreed = self.agreed / self.total if self.total > 0 else 1.0
        return Iteration(self.divergence / measured, self.change / max(self.total, 1e-30), agreed)


def added(parts: Sequence[Sums]) -> Sums:
    """The sums of all blocks: each rounded once, so that the order changes no bit."""
    return Sums(*map(math.fsum, zip(*map(astuple, parts), strict=True)))


def factors(done: Sequence[Sums]) -> tuple[float, float]:
    """How far the next iteration is extrapolated, and how far the last one was.

    Args:
        done: of the iterations so far, or of the last two.
    """
    one, two = [each.factor for each in done[-2:]][::-1] + [0.0] * (2 - len(done[-2:]))
    return one, two
