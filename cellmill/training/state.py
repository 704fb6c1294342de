"""What a fit has come to, and how it is kept for a restart.

A checkpoint holds all that the next step depends on: weights, optimiser, averages, the best look's
weights, and the random generator as it is before the next batch is drawn. A fit that goes on from
one ends with the curve and the weights of one that was never ended, to the bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellmill import extras
from cellmill.arrays.checkpoints import Checkpoints
from cellmill.arrays.resume import key_of
from cellmill.errors import check_least
from cellmill.training.images import TrainingImage
from cellmill.version import __version__

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Look:
    """One look at the validation images.

    Args:
        step: steps done.
        loss: mean training loss since the last look; None at the first, before any step.
        validation_loss: loss on the validation images, unaugmented.
    """

    step: int
    loss: float | None
    validation_loss: float


@dataclass
class FitState:
    """A fit, beside its network and optimiser.

    Args:
        random: state of the generator before the next batch is drawn.
        average: running average of the weights.
        best: weights of the best look.
        done: steps.
        best_step: of the best look.
        stopped: what ended the fit; empty while it goes on.
        seconds: that it took.
        losses: since the last look.
        curve: every look.
    """

    random: dict[str, Any]
    average: list[np.ndarray]
    best: list[np.ndarray]
    done: int = 0
    best_step: int = 0
    stopped: str = ""
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    curve: list[Look] = field(default_factory=list)


@dataclass(frozen=True)
class Keeping:
    """Where a fit is kept, and how often.

    Args:
        folder: of the checkpoint, which the next one replaces.
        checkpoint_every: steps between two; the end of the fit is kept too.
    """

    folder: Path
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        check_least(self, ("checkpoint_every",), 1)


@dataclass(frozen=True)
class KeptFit:
    """The checkpoint of a fit of one network by one optimiser."""

    network: keras.Model
    optimizer: Any
    keeping: Keeping
    work: str

    def keep(self, state: FitState) -> None:
        """Write a checkpoint, if it is time for one."""
        if state.done % self.keeping.checkpoint_every and not state.stopped:
            return
        lists = {
            "weight": self.network.get_weights(),
            "optimizer": [np.asarray(each) for each in self.optimizer.variables],
            "average": state.average,
            "best": state.best,
        }
        arrays = {f"{name}_{n}": a for name, each in lists.items() for n, a in enumerate(each)}
        said = {
            "done": state.done,
            "best_step": state.best_step,
            "stopped": state.stopped,
            "seconds": state.seconds,
            "losses": state.losses,
            "random": state.random,
            "curve": [asdict(look) for look in state.curve],
        }
        self._checkpoints.keep({**arrays, "state": np.array(json.dumps(said))})

    def resumed(self) -> FitState | None:
        """Put what was kept last into network and optimiser; None where nothing was."""
        kept = self._checkpoints.last()
        if not kept:
            return None
        count = len(self.network.weights)
        self.network.set_weights([kept[f"weight_{n}"] for n in range(count)])
        for n, variable in enumerate(self.optimizer.variables):
            variable.assign(kept[f"optimizer_{n}"])
        said = json.loads(str(kept["state"]))
        curve = [Look(**look) for look in said.pop("curve")]
        average, best = ([kept[f"{key}_{n}"] for n in range(count)] for key in ("average", "best"))
        return FitState(average=average, best=best, curve=curve, **said)

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.keeping.folder, self.work)


def work_of(
    network: keras.Model,
    training: Sequence[TrainingImage],
    validation: Sequence[TrainingImage],
    *about: Any,
) -> str:
    """What a fit's result depends on: weights that it begins with, images, and what else is said.

    Args:
        network: before the first step.
        training: images to draw crops from.
        validation: images to look at.
        about: JSON values.
    """
    keras, tf = extras.load("keras", "training"), extras.load("tensorflow", "training")
    found = hashlib.sha256()
    for part in (network.get_weights(), _arrays_of(training), _arrays_of(validation)):
        found.update(b"part")
        for array in part:
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    return key_of(found.hexdigest(), __version__, keras.__version__, tf.__version__, *about)


def _arrays_of(images: Sequence[TrainingImage]) -> Iterable[np.ndarray]:
    for each in images:
        yield from (each.image, each.labels)
        yield np.zeros(0) if each.hard_background is None else each.hard_background
