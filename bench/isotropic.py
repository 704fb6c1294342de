"""Two isotropic volumes: planes of three axes, and volumes, learnt from and scored.

For `bench.style_transfer`, which says how they are called.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.style_transfer.applying import VOLUME, BlockGrid, transfer_volume
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.gate import Planes, Task, score, train_task
from cellmill.style_transfer.matching import (
    histogram,
    histogram_table,
    mean_and_sd,
    mean_sd_table,
)
from cellmill.style_transfer.network import Levels
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.training import Domain, applied, averaged_generator, train
from cellmill.style_transfer.volumes import open_volume


@dataclass(frozen=True)
class Isotropic:
    """Two synthetic isotropic volumes, of X the last quarter along z held out, and its scores."""

    of_x: np.ndarray
    of_y: np.ndarray
    cut: int
    levels: tuple[Levels, Levels]
    truth: np.ndarray
    task: Task

    @classmethod
    def made(cls, side: int = 132, cut: int = 100) -> Isotropic:
        """The volumes, and a task's network that was trained on Y."""
        tissues = {seed: make_tissue((side,) * 3, seed=seed) for seed in (1, 2)}
        of_x, of_y = (show(tissues[n], look, seed=n) for n, look in ((1, LOOK_X), (2, LOOK_Y)))
        levels = mean_and_sd(histogram(of_x[:cut])), mean_and_sd(histogram(of_y))
        task = train_task(Planes(of_y[::6], tissues[2].membranes[::6]), levels[1])
        return cls(of_x, of_y, cut, levels, tissues[1].membranes[cut:], task)

    @property
    def domains(self) -> tuple[Domain, Domain]:
        """What is trained on."""
        boxes = ((0, 0, 0, self.cut, *self.of_x.shape[1:]),)
        x = Domain([Source(open_volume(self.of_x), boxes=boxes)], self.levels[0])
        return x, Domain([Source(open_volume(self.of_y))], self.levels[1])

    def f1(self, made: np.ndarray) -> float:
        """Of membranes in what was made of X, on sections that no training saw."""
        return score(self.task, made[self.cut :], self.truth)[0]

    def f1_of(
        self, folder: Path, step: int, asked: TransferParameters, planes: str = VOLUME
    ) -> float:
        """The same of a checkpoint, applied across some axes or to the volume."""
        generator, reach = averaged_generator(folder, step, asked), asked.reach_at(step)
        shape, out = self.of_x.shape, np.zeros_like(self.of_x)
        grid = BlockGrid(shape, shape[0], reach.halo, planes, reach.stride, reach.halo_z)
        transfer_volume(
            self.of_x,
            out,
            grid,
            lambda tiles: [applied(generator, *self.levels, tiles[..., 0])[..., None]],
        )
        return self.f1(out)


def axes() -> dict[str, Any]:
    """Train on planes of all three axes; F1 on sections that no training saw."""
    data = Isotropic.made()
    counts = histogram(data.of_x[: data.cut]), histogram(data.of_y)
    f1 = {
        "as is": data.f1(data.of_x),
        "mean and SD": data.f1(mean_sd_table(*counts)[data.of_x]),
        "histogram": data.f1(histogram_table(*counts)[data.of_x]),
    }
    asked = TransferParameters(crop=96, planes="zyx", steps=300, checkpoint_every=300)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        train(build_networks(asked), *data.domains, asked, Path(name))
        taken = time.process_time() - begun
        for planes in ("z", "zyx"):
            f1[f"planes across {planes}"] = data.f1_of(Path(name), asked.steps, asked, planes)
    return {"steps": asked.steps, "cpu_seconds_of_training": taken, "f1": f1}


def volumes(seed: int) -> dict[str, Any]:
    """Train on planes, then on volumes or on more planes; F1 and processor time of each."""
    data = Isotropic.made()
    asked = TransferParameters(
        crop=96, planes="zyx", steps=300, volume_steps=200, checkpoint_every=50, seed=seed
    )
    ways = {"volumes": asked, "planes": replace(asked, steps=900, volume_steps=0)}
    rows: list[dict[str, Any]] = []
    for way, given in ways.items():
        taken: dict[int, float] = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            train(
                build_networks(given),
                *data.domains,
                given,
                folder,
                on_checkpoint=partial(_note, taken),
            )
            for step in (300, 350, 400, 500, 700, 900):
                if step > given.last_step or (way == "volumes" and step == 300):
                    continue
                seen = ("volume",) if step > given.steps else ("z", "zyx")
                rows.append(
                    {
                        "learnt from": way if step > asked.steps else "planes",
                        "steps": step,
                        "cpu_seconds_after_300": taken[step] - taken[300],
                        "f1": {each: data.f1_of(folder, step, given, each) for each in seen},
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    return {"seed": seed, "rows": rows}


def _note(taken: dict[int, float], step: int) -> None:
    taken[step] = time.process_time()
