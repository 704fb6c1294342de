"""From two volumes to a network that the gate chose: matching, or a checkpoint of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.models.fetch import FetchedModel
from cellmill.style_transfer.base import Base, begin_with
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.domains import Labelleds, halves, known, scored, taught
from cellmill.style_transfer.gate import (
    Row,
    Task,
    between,
    choose,
    gate_row,
    inside,
    train_task,
)
from cellmill.style_transfer.matching import (
    histogram,
    histogram_table,
    mean_and_sd,
    mean_sd_table,
)
from cellmill.style_transfer.network import Levels, export_generator, export_table
from cellmill.style_transfer.own_task import load_task
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.prior import Prior, load_prior
from cellmill.style_transfer.sampling import sample_volumes
from cellmill.style_transfer.training import (
    Checkpoint,
    Domain,
    applied,
    averaged_generator,
    check_crops,
    train,
)

AS_IS, MEAN_SD, HISTOGRAM, UPPER = "as is", "mean and SD", "histogram", "upper bound"
MATCHED = (MEAN_SD, HISTOGRAM)

#: Planes whose grey values are counted.
_COUNTED = 48
#: Planes of Y by which a prior is told how large its outputs are.
_SHOWN = 16


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Args:
        curve: of the losses.
        rows: the gate's table; empty where there was no truth.
        chosen: the row that was taken; without a gate the last checkpoint, with no figures.
        levels: means and deviations of X and Y.
        tables: by name of a matching what each grey value of X becomes, and each of Y.
        samples: planes of X that no training saw and that chose nothing, as `Planes.grey`.
    """

    curve: Sequence[Checkpoint]
    rows: Sequence[Row]
    chosen: Row
    levels: tuple[tuple[float, float], tuple[float, float]]
    tables: dict[str, tuple[np.ndarray, np.ndarray]]
    samples: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "curve": [asdict(each) for each in self.curve],
            "gate": [row.to_dict() for row in self.rows],
            "chosen": self.chosen.to_dict(),
            "levels": {"x": list(self.levels[0]), "y": list(self.levels[1])},
        }


def fit_transfer(
    x: Labelleds,
    y: Labelleds,
    held_out: Labelleds,
    parameters: TransferParameters,
    folder: Path,
    *,
    task_steps: int = 200,
    replicas: int = 1,
    base: Base | None = None,
    prior: FetchedModel | None = None,
    task: FetchedModel | None = None,
    task_head: str = "",
    trusted: bool = False,
    on_step: Callable[[int], None] | None = None,
    on_checkpoint: Callable[[Fitted], None] | None = None,
) -> Fitted:
    """Train, score every checkpoint and both ways of matching, and choose (`gate.choose`).

    Args:
        x: what is trained on of X; if there is a gate, with the truth of some.
        y: what is trained on of Y, likewise.
        held_out: of X what no training sees, two sections or more of each volume: the first half
            chooses, and in the second all is scored again.
        parameters: of the training.
        folder: of checkpoints.
        task_steps: batches that the gate's networks are trained on.
        replicas: devices that share a batch, as `build_networks` takes them.
        base: generators to go on from, as `load_base` reads them for these parameters.
        prior: a network that the discriminator of Y looks through too.
        task: a network of the user's that scores checkpoints in place of one that is trained on Y.
        task_head: what of it, as `load_task` takes it.
        trusted: whether these two may do more than compute.
        on_step: called with the steps done.
        on_checkpoint: called after each checkpoint with what there were if it was the last, and
            no gate; one sample of it.

    Raises:
        BadInput: a volume has no room for crops, or truth is there for some and not for others.
    """
    _check_truth(x, y, held_out, task)
    for domain in (x, y):
        check_crops([each.source for each in domain], parameters)
    counts = [_counted(each, parameters) for each in (x, y)]
    levels = (mean_and_sd(counts[0]), mean_and_sd(counts[1]))
    tables = {
        MEAN_SD: (mean_sd_table(*counts), mean_sd_table(*counts[::-1])),
        HISTOGRAM: (histogram_table(*counts), histogram_table(*counts[::-1])),
    }
    choosing, apart = (
        scored(part, parameters.seed + n, parameters.reach_at(parameters.last_step))
        for n, part in enumerate(halves(known(held_out) or held_out), 1)
    )
    judge, rows, matched = None, [], []
    halo = parameters.reach.halo
    if known(held_out):
        judge, own = _tasks(
            (known(x), known(y) or y), levels, parameters.seed, task_steps, task, task_head, trusted
        )
        matched = [
            gate_row(judge, name, partial(_matched, table, margin=halo), choosing, apart)
            for name, (table, _) in tables.items()
        ]
        unchanged = partial(_as_is, margin=halo)
        as_is = gate_row(judge, AS_IS, unchanged, choosing, apart)
        upper = [gate_row(own, UPPER, unchanged, choosing, apart)] if own else []
        rows = [each.row for each in (as_is, *matched, *upper)]
    domain_x, domain_y = (
        Domain([each.source for each in domain], level)
        for domain, level in zip((x, y), levels, strict=True)
    )
    seen = _prior(prior, y, levels[1], parameters, trusted=trusted) if prior else None
    networks = build_networks(parameters, replicas, seen)
    if base:
        begin_with(networks, base, parameters)
    ungated = partial(_ungated, parameters, levels, tables)

    def look(checkpoint: Checkpoint) -> None:
        if on_checkpoint:
            on_checkpoint(ungated([checkpoint], apart.grey[:1]))

    curve = train(networks, domain_x, domain_y, parameters, folder, on_step, look)
    if judge is None:
        return ungated(curve, apart.grey)
    learnt = []
    for step in (each.step for each in curve):
        generator, reach = averaged_generator(folder, step, parameters), parameters.reach_at(step)
        make = partial(_made, generator, levels, reach.halo_z)
        learnt.append(gate_row(judge, _row_name(step, parameters), make, choosing, apart, step))
    chosen, checkpoints = choose(matched, learnt)
    return Fitted(curve, [*rows, *checkpoints], chosen, levels, tables, apart.grey)


def _ungated(
    parameters: TransferParameters,
    levels: tuple[Levels, Levels],
    tables: dict[str, tuple[np.ndarray, np.ndarray]],
    curve: Sequence[Checkpoint],
    samples: np.ndarray,
) -> Fitted:
    """What a training came to where nothing scores it: its last checkpoint."""
    last = curve[-1].step
    row = Row(_row_name(last, parameters), step=last)
    return Fitted(curve, [], row, levels, tables, samples)


def _check_truth(
    x: Labelleds, y: Labelleds, held_out: Labelleds, task: FetchedModel | None
) -> None:
    """A network that is trained for the gate needs truth of all; one that is there that of X."""
    labelled = [bool(known(each)) for each in (x, y, held_out)]
    if task and not labelled[2]:
        expected = "x_truth beside it: without it nothing says what it should find"
        raise BadInput("task_network", expected=expected, found="none")
    if not task and any(labelled) and not all(labelled):
        raise BadInput("truth", expected="that of X and of Y, or of neither", found="one of them")


def _tasks(
    known_of: Sequence[Labelleds],
    levels: Sequence[Levels],
    seed: int,
    steps: int,
    given: FetchedModel | None,
    head: str,
    trusted: bool,
) -> tuple[Task, Task | None]:
    """What scores what was made of X, and what was trained on X for the upper bound.

    A network of the user's knows Y alone: no bound is known for it.
    """
    if given:
        return load_task(given, head, taught(known_of[1], seed), trusted=trusted), None
    own, task = (
        train_task(taught(each, seed), level, steps=steps, seed=seed)
        for each, level in zip(known_of, levels, strict=True)
    )
    return task, own


def export_chosen(
    fitted: Fitted, parameters: TransferParameters, checkpoints: Path, folder: Path, *, back: bool
) -> None:
    """Write the network that was chosen, or the one of the other direction.

    Args:
        fitted: what was chosen.
        parameters: of the training.
        checkpoints: its folder.
        folder: of the network.
        back: from Y to X.
    """
    if fitted.chosen.step < 0:
        table = fitted.tables[fitted.chosen.name][int(back)]
        export_table(table, folder, parameters.reach)
        return
    generator = averaged_generator(checkpoints, fitted.chosen.step, parameters, back=back)
    source, target = fitted.levels[::-1] if back else fitted.levels
    export_generator(generator, folder, source, target)


def transferred(
    fitted: Fitted,
    parameters: TransferParameters,
    checkpoints: Path,
    planes: np.ndarray,
    *,
    back: bool = False,
) -> np.ndarray:
    """What was chosen makes of planes `(N, n, n)` of grey values, two halos less a side.

    A generator of volumes takes `(N, m, n, n)`, as `applied` has it.
    """
    if fitted.chosen.step < 0:
        table = fitted.tables[fitted.chosen.name][int(back)]
        return _matched(table, planes, parameters.reach.halo)
    generator = averaged_generator(checkpoints, fitted.chosen.step, parameters, back=back)
    source, target = fitted.levels[::-1] if back else fitted.levels
    return applied(generator, source, target, planes)


def there_and_back(
    fitted: Fitted, parameters: TransferParameters, checkpoints: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples, what was chosen makes of them, and of that the network of the other direction.

    Returns:
        Planes of grey values, each with two halos less a side than those before.
    """
    given = between(fitted.samples, 2 * parameters.reach_at(fitted.chosen.step).halo_z)
    made = transferred(fitted, parameters, checkpoints, given)
    returned = transferred(fitted, parameters, checkpoints, np.clip(made, 0, 255), back=True)
    return between(given), between(made), between(returned)


def _row_name(step: int, parameters: TransferParameters) -> str:
    return f"step {step}, 3-D" if parameters.sees_volumes_at(step) else f"step {step}"


def _counted(domain: Labelleds, parameters: TransferParameters) -> np.ndarray:
    """The histogram of planes of a domain."""
    side, sources = parameters.crop, [each.source for each in domain]
    crops = sample_volumes(sources, (1, side, side), seed=parameters.seed, count=_COUNTED)
    return histogram(crop.values for crop in crops)


def _prior(
    fetched: FetchedModel,
    y: Labelleds,
    levels: Levels,
    parameters: TransferParameters,
    *,
    trusted: bool,
) -> Prior:
    """A prior, told what planes of Y look like that a discriminator is shown."""
    side, sources = parameters.crop - 2 * parameters.reach.halo, [each.source for each in y]
    crops = sample_volumes(sources, (1, side, side), seed=parameters.seed, count=_SHOWN)
    planes = np.stack([crop.values[0] for crop in crops])
    return load_prior(fetched, levels, planes, trusted=trusted)


def _matched(table: np.ndarray, planes: np.ndarray, margin: int) -> np.ndarray:
    """What a matching makes of planes of grey values, a margin less at each side."""
    return inside(table[np.clip(np.rint(between(planes)), 0, 255).astype(np.uint8)], margin)


def _as_is(planes: np.ndarray, margin: int) -> np.ndarray:
    return inside(between(planes), margin)


def _made(
    generator: Any, levels: tuple[Levels, Levels], sections: int, planes: np.ndarray
) -> np.ndarray:
    """What a generator that sees so many sections at each side makes of planes."""
    return between(applied(generator, *levels, between(planes, sections)))
