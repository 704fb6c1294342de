"""What a training of style transfer is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from cellmill.errors import BadInput, check_least
from cellmill.style_transfer.defects import Defects
from cellmill.style_transfer.network import DEPTHS, PRECISIONS, Reach, reach_of

OBJECTIVES = ("least_squares", "focal")
"""Of the adversarial loss: squares (Mao et al. 2017), or cross-entropy that looks away from what is
told apart already (Lin et al. 2017, γ 2)."""

#: Pixels of a crop's side that are left at least after two passes, for the cycle loss.
_LEFT = 16


@dataclass(frozen=True)
class Phase:
    """Steps of a training whose generators are of one kind.

    Args:
        first: steps done before it.
        last: steps done when it is over.
        batch_size: crops of each domain in a batch.
        numbered: crops of each domain that were drawn before it.
        sections: of a crop; 1 of planes.
        sees_volumes: whether generators do.
    """

    first: int
    last: int
    batch_size: int
    numbered: int
    sections: int
    sees_volumes: bool

    def number(self, step: int) -> int:
        """Of the first crop after so many steps."""
        return self.numbered + (step - self.first) * self.batch_size


@dataclass(frozen=True)
class TransferParameters:
    """How the networks are trained.

    Args:
        steps: batches of planes; 0 where volumes alone are learnt from.
        batch_size: planes of each domain in a batch.
        crop: side of a plane in pixels, a multiple of the generators' stride that leaves 16 pixels
            or more after two passes.
        width: channels of the generators at full resolution.
        discriminator_width: channels of the discriminators' first layer.
        depth: how often the generators halve the resolution, 2, 1 for a simpler network to find
            faults with, 3 or 4 for ones that see further.
        residual: whether a generator adds to what it is given. It then begins at matching mean and
            standard deviation.
        objective: of the adversarial loss, one of `OBJECTIVES`.
        adversarial: weight of the adversarial loss.
        cycle: weight of the cycle loss.
        identity: weight of the identity loss.
        learning_rate: of all networks.
        checkpoint_every: steps between two checkpoints.
        planes: across which axes planes are cut.
        volume_steps: batches of volumes after them: the generators are made ones of volumes that
            make the same, and go on learning.
        volume_batch_size: volumes of each domain in such a batch.
        sections: of such a volume, along the axis across which planes were cut; 0 is as many as
            leave four after two passes.
        precision: what the networks compute in; where it is mixed, weights, averages and losses
            stay float32.
        warp: standard deviation of the elastic warp of crops, voxels; 0 bends none.
        missing: part of the sections that are missing, of planes across y and x and of volumes.
        folds: part of the sections that have a fold.
        dark: part of the sections that are darker and of lower contrast.
        seed: of everything random.
    """

    steps: int = 600
    batch_size: int = 6
    crop: int = 108
    width: int = 8
    discriminator_width: int = 16
    depth: int = 2
    residual: bool = False
    objective: str = OBJECTIVES[0]
    adversarial: float = 1.0
    cycle: float = 2.0
    identity: float = 1.0
    learning_rate: float = 1e-3
    checkpoint_every: int = 100
    planes: str = "zyx"
    volume_steps: int = 0
    volume_batch_size: int = 1
    sections: int = 0
    precision: str = "float32"
    warp: float = 0.0
    missing: float = 0.0
    folds: float = 0.0
    dark: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = ("batch_size", "width", "discriminator_width", "checkpoint_every")
        check_least(self, (*sizes, "volume_batch_size"), 1)
        check_least(self, ("volume_steps", "sections"), 0)
        check_least(self, ("steps",), 0 if self.volume_steps else 1)
        if self.depth not in DEPTHS:
            expected = f"{DEPTHS[0]} to {DEPTHS[-1]}"
            raise BadInput("depth", expected=expected, found=f"{self.depth}")
        least = 4 * self.reach.halo + _LEFT
        if self.crop < least or self.crop % self.reach.stride:
            expected = f"a multiple of {self.reach.stride} from {least} at depth {self.depth}"
            raise BadInput("crop", expected=expected, found=f"{self.crop}")
        check_least(self, ("adversarial", "cycle", "identity"), 0)
        if not 0 < self.learning_rate < 1:
            raise BadInput("learning_rate", expected="0 to 1", found=f"{self.learning_rate}")
        if self.objective not in OBJECTIVES:
            expected = " or ".join(OBJECTIVES)
            raise BadInput("objective", expected=expected, found=f"'{self.objective}'")
        if self.planes not in ("z", "y", "x", "zyx"):
            raise BadInput("planes", expected="z, y, x or zyx", found=f"'{self.planes}'")
        if self.precision not in PRECISIONS:
            expected = ", ".join(PRECISIONS)
            raise BadInput("precision", expected=f"one of {expected}", found=f"'{self.precision}'")
        if self.missing and self.planes == "z" and not self.volume_steps:
            expected = "0 where planes are cut across z alone: a missing one shows nothing"
            raise BadInput("missing", expected=expected, found=f"{self.missing}")
        # Says what is wrong with them.
        _ = self.defects
        self._check_volumes()

    def _check_volumes(self) -> None:
        if self.volume_steps and self.planes not in ("z", "zyx"):
            expected = "z or zyx before volumes"
            raise BadInput("planes", expected=expected, found=f"'{self.planes}'")
        least = 4 * reach_of(self.depth, volume=True).halo_z + 1
        if 0 < self.sections < least:
            expected = f"0, or at least {least} at depth {self.depth}"
            raise BadInput("sections", expected=expected, found=f"{self.sections}")

    @property
    def reach(self) -> Reach:
        """Of the generators of planes."""
        return reach_of(self.depth)

    def sees_volumes_at(self, step: int) -> bool:
        """Whether the generators do after so many steps: from the first where none is of planes."""
        return self.volume_steps > 0 and (step > self.steps or not self.steps)

    def reach_at(self, step: int) -> Reach:
        """Of the generators after so many steps."""
        return reach_of(self.depth, volume=self.sees_volumes_at(step))

    @property
    def last_step(self) -> int:
        """Steps of planes and of volumes."""
        return self.steps + self.volume_steps

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Steps of planes, then of volumes; those that have any."""
        sections = self.sections or 4 * reach_of(self.depth, volume=True).halo_z + 4
        drawn = self.steps * self.batch_size
        both = (
            Phase(0, self.steps, self.batch_size, 0, 1, sees_volumes=False),
            Phase(
                self.steps,
                self.last_step,
                self.volume_batch_size,
                drawn,
                sections,
                sees_volumes=True,
            ),
        )
        return tuple(phase for phase in both if phase.last > phase.first)

    @property
    def defects(self) -> Defects:
        """How crops are bent and spoilt."""
        return Defects(self.warp, self.missing, self.folds, self.dark)
