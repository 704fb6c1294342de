"""From two volumes to a network that the gate chose: matching, or a checkpoint of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.style_transfer.gate import (
    Row,
    TaskNetwork,
    choose,
    gate_rows,
    inside,
    score,
    train_task,
)
from cellmill.style_transfer.matching import (
    histogram,
    histogram_table,
    mean_and_sd,
    mean_sd_table,
)
from cellmill.style_transfer.network import HALO, STRIDE, export_generator, export_table
from cellmill.style_transfer.sampling import Box, Source, sample_volumes
from cellmill.style_transfer.training import (
    Checkpoint,
    Domain,
    TransferParameters,
    applied,
    averaged_generator,
    build_networks,
    train,
)
from cellmill.style_transfer.volumes import Volume

AS_IS, MEAN_SD, HISTOGRAM, UPPER = "as is", "mean and SD", "histogram", "upper bound"
MATCHED = (MEAN_SD, HISTOGRAM)

#: Side of the planes on which the gate's networks are trained and scored, at most, and how many.
_SIDE, _TAUGHT, _SCORED = 128, 24, 16
#: Planes whose grey values are counted.
_COUNTED = 48


@dataclass(frozen=True)
class Labelled:
    """A volume, where it may be read, and where there is in it what the task finds.

    Args:
        volume: grey values.
        truth: `(Z, Y, X)`, non-zero where it is; None if that is not known.
        box: what may be read.
    """

    volume: Volume
    truth: Windowed | None
    box: Box


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Args:
        curve: of the losses.
        rows: the gate's table; empty where there was no truth.
        chosen: the row that was taken; without a gate the last checkpoint, with no figures.
        levels: means and deviations of X and Y.
        tables: by name of a matching what each grey value of X becomes, and each of Y.
        samples: planes `(N, n, n)` of X that no training saw.
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
    x: Labelled,
    y: Labelled,
    held_out: Labelled,
    parameters: TransferParameters,
    folder: Path,
    *,
    task_steps: int = 200,
    on_step: Callable[[int], None] | None = None,
) -> Fitted:
    """Train, score every checkpoint and both ways of matching, and choose.

    Args:
        x: what is trained on of X, with its truth if there is a gate.
        y: what is trained on of Y, likewise.
        held_out: of X what no training sees.
        parameters: of the training.
        folder: of checkpoints.
        task_steps: batches that the gate's networks are trained on.
        on_step: called with the steps done.

    Raises:
        BadInput: a volume has no room for crops, or truth is there for some and not for others.
    """
    known = [each.truth is not None for each in (x, y, held_out)]
    if any(known) and not all(known):
        raise BadInput("truth", expected="that of X and of Y, or of neither", found="one of them")
    counts = [_counted(each, parameters) for each in (x, y)]
    levels = (mean_and_sd(counts[0]), mean_and_sd(counts[1]))
    tables = {
        MEAN_SD: (mean_sd_table(*counts), mean_sd_table(*counts[::-1])),
        HISTOGRAM: (histogram_table(*counts), histogram_table(*counts[::-1])),
    }
    planes, truth = _planes(held_out, _SCORED, parameters.seed + 1)
    rows: list[Row] = []
    task: TaskNetwork | None = None
    if all(known):
        task = train_task(
            *_planes(y, _TAUGHT, parameters.seed), levels[1], steps=task_steps, seed=parameters.seed
        )
        rows = gate_rows(
            task,
            planes,
            truth,
            {
                AS_IS: inside,
                MEAN_SD: lambda given: inside(tables[MEAN_SD][0][given]),
                HISTOGRAM: lambda given: inside(tables[HISTOGRAM][0][given]),
            },
        )
        own = train_task(
            *_planes(x, _TAUGHT, parameters.seed), levels[0], steps=task_steps, seed=parameters.seed
        )
        rows.append(Row(UPPER, *score(own, inside(planes), inside(truth))))
    domain_x, domain_y = (
        Domain([Source(each.volume, boxes=(each.box,))], level)
        for each, level in zip((x, y), levels, strict=True)
    )
    networks = build_networks(parameters)
    curve = train(networks, domain_x, domain_y, parameters, folder, on_step)
    for step in (each.step for each in curve):
        if task is None:
            break
        made = applied(averaged_generator(folder, step, parameters), *levels, planes)
        found = score(task, np.clip(np.rint(made), 0, 255), inside(truth))
        rows.append(Row(f"step {step}", *found, step))
    last = Row(f"step {curve[-1].step}", float("nan"), float("nan"), curve[-1].step)
    open_to_all = [row for row in rows if row.step >= 0 or row.name in MATCHED]
    chosen = choose(open_to_all) if rows else last
    return Fitted(curve, rows, chosen, levels, tables, planes)


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
        export_table(fitted.tables[fitted.chosen.name][int(back)], folder)
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
    """What was chosen makes of planes `(N, n, n)` of grey values: `(N, n - 40, n - 40)`."""
    if fitted.chosen.step < 0:
        table = fitted.tables[fitted.chosen.name][int(back)]
        return inside(table[np.clip(np.rint(planes), 0, 255).astype(np.uint8)])
    generator = averaged_generator(checkpoints, fitted.chosen.step, parameters, back=back)
    source, target = fitted.levels[::-1] if back else fitted.levels
    return applied(generator, source, target, planes)


def _counted(domain: Labelled, parameters: TransferParameters) -> np.ndarray:
    """The histogram of planes of a domain."""
    side = parameters.crop
    source = Source(domain.volume, boxes=(domain.box,))
    crops = sample_volumes([source], (1, side, side), seed=parameters.seed, count=_COUNTED)
    return histogram(crop.values for crop in crops)


def _planes(domain: Labelled, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes across z of a domain with their truth, which is empty where it is not known."""
    box = domain.box
    room = min(box[4] - box[1], box[5] - box[2], _SIDE)
    side = room // STRIDE * STRIDE
    if side < 4 * HALO + STRIDE:
        expected = f"at least {4 * HALO + STRIDE} voxels along y and x"
        raise BadInput(f"volume '{domain.volume.name}'", expected=expected, found=f"{room}")
    planes, truth = [], []
    source = Source(domain.volume, boxes=(box,))
    for crop in sample_volumes([source], (1, side, side), seed=seed, count=count):
        planes.append(crop.values[0])
        if domain.truth is not None:
            window = tuple(
                slice(c, c + n) for c, n in zip(crop.corner, (1, side, side), strict=True)
            )
            truth.append(np.asarray(domain.truth[window])[0] != 0)
    return np.stack(planes), np.stack(truth) if truth else np.zeros((count, side, side), bool)
