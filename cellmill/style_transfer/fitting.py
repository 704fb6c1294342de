"""From two volumes to a network that the gate chose: matching, or a checkpoint of a training."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.gate import (
    Planes,
    Row,
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
from cellmill.style_transfer.network import HALO, STRIDE, export_generator, export_table
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Box, Source, sample_volumes
from cellmill.style_transfer.training import (
    Checkpoint,
    Domain,
    applied,
    averaged_generator,
    train,
)
from cellmill.style_transfer.volumes import Volume

AS_IS, MEAN_SD, HISTOGRAM, UPPER = "as is", "mean and SD", "histogram", "upper bound"
MATCHED = (MEAN_SD, HISTOGRAM)

#: Side of the planes on which the gate's networks are trained and scored, at most, and how many at
#: most.
_SIDE, _TAUGHT, _SCORED = 128, 24, 32
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
        samples: planes `(N, n, n)` of X that no training saw and that chose nothing.
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
    replicas: int = 1,
    on_step: Callable[[int], None] | None = None,
) -> Fitted:
    """Train, score every checkpoint and both ways of matching, and choose (`gate.choose`).

    Args:
        x: what is trained on of X, with its truth if there is a gate.
        y: what is trained on of Y, likewise.
        held_out: of X what no training sees, two sections or more: the first half chooses, and in
            the second all is scored again.
        parameters: of the training.
        folder: of checkpoints.
        task_steps: batches that the gate's networks are trained on.
        replicas: devices that share a batch, as `build_networks` takes them.
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
    choosing, apart = (
        _scored(part, parameters.seed + n) for n, part in enumerate(_halves(held_out), 1)
    )
    task, rows, matched = None, [], []
    if all(known):
        own, task = (
            train_task(
                _taught(each, parameters.seed), level, steps=task_steps, seed=parameters.seed
            )
            for each, level in zip((x, y), levels, strict=True)
        )
        matched = [
            gate_row(task, name, partial(_matched, table), choosing, apart)
            for name, (table, _) in tables.items()
        ]
        as_is = gate_row(task, AS_IS, inside, choosing, apart)
        upper = gate_row(own, UPPER, inside, choosing, apart)
        rows = [each.row for each in (as_is, *matched, upper)]
    domain_x, domain_y = (
        Domain([Source(each.volume, boxes=(each.box,))], level)
        for each, level in zip((x, y), levels, strict=True)
    )
    networks = build_networks(parameters, replicas)
    curve = train(networks, domain_x, domain_y, parameters, folder, on_step)
    if task is None:
        last = curve[-1].step
        return Fitted(curve, [], Row(f"step {last}", step=last), levels, tables, apart.grey)
    learnt = []
    for step in (each.step for each in curve):
        make = partial(applied, averaged_generator(folder, step, parameters), *levels)
        learnt.append(gate_row(task, f"step {step}", make, choosing, apart, step))
    chosen, checkpoints = choose(matched, learnt)
    return Fitted(curve, [*rows, *checkpoints], chosen, levels, tables, apart.grey)


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
        return _matched(fitted.tables[fitted.chosen.name][int(back)], planes)
    generator = averaged_generator(checkpoints, fitted.chosen.step, parameters, back=back)
    source, target = fitted.levels[::-1] if back else fitted.levels
    return applied(generator, source, target, planes)


def _counted(domain: Labelled, parameters: TransferParameters) -> np.ndarray:
    """The histogram of planes of a domain."""
    side = parameters.crop
    source = Source(domain.volume, boxes=(domain.box,))
    crops = sample_volumes([source], (1, side, side), seed=parameters.seed, count=_COUNTED)
    return histogram(crop.values for crop in crops)


def _matched(table: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """What a matching makes of planes `(N, n, n)` of grey values, `HALO` less at each side."""
    return inside(table[np.clip(np.rint(planes), 0, 255).astype(np.uint8)])


def _halves(domain: Labelled) -> tuple[Labelled, Labelled]:
    """Two parts along z that share no section."""
    z0, y0, x0, z1, y1, x1 = domain.box
    if z1 - z0 < 2:
        raise BadInput("held-out volume", expected="at least 2 sections", found=f"{z1 - z0}")
    cut = (z0 + z1) // 2
    low, high = (z0, y0, x0, cut, y1, x1), (cut, y0, x0, z1, y1, x1)
    return replace(domain, box=low), replace(domain, box=high)


def _taught(domain: Labelled, seed: int) -> Planes:
    """Planes across z anywhere in a domain, for a task's network to learn from."""
    side = _side(domain)
    crops = sample_volumes(
        [Source(domain.volume, boxes=(domain.box,))], (1, side, side), seed=seed, count=_TAUGHT
    )
    return _read(domain, [crop.corner for crop in crops], side)


def _scored(domain: Labelled, seed: int) -> Planes:
    """Planes across z of which no two score one pixel, spread evenly; of many some, by chance."""
    side = _side(domain)
    lows, highs = domain.box[:3], domain.box[3:]
    places: list[Sequence[int]] = [range(lows[0], highs[0])]
    for low, high in zip(lows[1:], highs[1:], strict=True):
        room = high - low - side
        # What is scored are the planes' insides but for what the task's network does not see.
        count = room // (side - 4 * HALO) + 1
        places.append(
            [low + (room * n // (count - 1) if count > 1 else room // 2) for n in range(count)]
        )
    sides = [len(each) for each in places]
    total = math.prod(sides)
    taken = sorted(random.Random(seed).sample(range(total), min(total, _SCORED)))
    corners = [
        tuple(each[int(n)] for each, n in zip(places, np.unravel_index(number, sides), strict=True))
        for number in taken
    ]
    return _read(domain, corners, side)


def _side(domain: Labelled) -> int:
    """Of the gate's planes, pixels."""
    box = domain.box
    room = min(box[4] - box[1], box[5] - box[2], _SIDE)
    side = room // STRIDE * STRIDE
    if side < 4 * HALO + STRIDE:
        expected = f"at least {4 * HALO + STRIDE} voxels along y and x"
        raise BadInput(f"volume '{domain.volume.name}'", expected=expected, found=f"{room}")
    return side


def _read(domain: Labelled, corners: Sequence[Sequence[int]], side: int) -> Planes:
    """Planes with their truth, which is empty where it is not known."""
    windows = [
        tuple(slice(c, c + n) for c, n in zip(corner, (1, side, side), strict=True))
        for corner in corners
    ]
    grey = np.stack([domain.volume[window][0] for window in windows])
    if domain.truth is None:
        return Planes(grey, np.zeros((0, side, side), bool))
    return Planes(grey, np.stack([np.asarray(domain.truth[w])[0] != 0 for w in windows]))
