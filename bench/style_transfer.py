"""How long a style-transfer network takes over a volume; with `--gate`, what training reaches.

`python -m bench.style_transfer [--shape 8x512x512] [--width 8] [--block 256] [--small 36]`
`python -m bench.style_transfer --gate` `python -m bench.style_transfer --self-test`
`python -m bench.style_transfer --axes`

The same generator with random weights is applied to the same planes, in blocks of the default side
and in blocks of 36, what transfer_em (2021) keeps of each read of 74. Both give the same voxels,
which is checked. Processor time is that of the transfer alone, the network loaded before.

With `--gate` two synthetic volumes are learnt from instead, by a plain generator, by a residual
one and by the adversarial loss alone: the gate's rows of each, the processor time from the first
step to the chosen checkpoint, and the gap of spectra. With `--self-test` X is a part of Y that was
spoilt in a known way: bent, blurred, full of holes. With `--axes` volumes are isotropic, planes of
all three axes are learnt from, and what the network makes across one axis and across three, whose
results are averaged, is scored as the gate does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.datasets.spoilt_em import spoil
from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, Tissue, make_tissue, show
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.style_transfer.applying import BlockGrid, grid_for, transfer_volume
from cellmill.style_transfer.cyclegan import build_networks
from cellmill.style_transfer.domains import Labelled
from cellmill.style_transfer.fitting import fit_transfer
from cellmill.style_transfer.gate import Planes, inside, score, train_task
from cellmill.style_transfer.matching import (
    histogram,
    histogram_table,
    mean_and_sd,
    mean_sd_table,
)
from cellmill.style_transfer.network import (
    build_generator,
    export_generator,
    generator_card,
    reach_of,
)
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.sampling import Source
from cellmill.style_transfer.spectra import spectrum_gap
from cellmill.style_transfer.training import Domain, applied, averaged_generator, train
from cellmill.style_transfer.volumes import open_volume

ENGINES = ("tensorflow", "openvino")


def measure(
    folder: Path, card: ModelCard, volume: np.ndarray, block: int, engine: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Transfer the volume in blocks of one side; give it and what it took."""
    grid, sized = grid_for(card, volume.shape, block)
    network = load_network(folder, sized, engine=engine)
    out = np.zeros_like(volume)
    # The first call of an engine prepares it.
    network(np.zeros((8, *sized.input.tile, 1), np.float32))
    wall, cpu = time.perf_counter(), time.process_time()
    done = transfer_volume(volume, out, grid, network)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return out, {
        "seconds": wall,
        "cpu_seconds": cpu,
        "megavoxels_per_cpu_second": volume.size / cpu / 1e6,
        "read_amplification": done.read_amplification,
    }


def blocks(given: argparse.Namespace) -> dict[str, Any]:
    """Time one network in large blocks and in small ones, by each engine."""
    shape = tuple(int(side) for side in given.shape.split("x"))
    volume = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    extras.load("keras", "style transfer").utils.set_random_seed(0)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_generator(build_generator(given.width), folder, (128.0, 74.0), (128.0, 74.0))
        card = generator_card("bench", reach=reach_of(2), planes="z", block=given.block)
        card.save(folder)
        for engine in ENGINES:
            whole, large = measure(folder, card, volume, given.block, engine)
            parts, small = measure(folder, card, volume, given.small, engine)
            found[engine] = {
                f"blocks of {given.block}": large,
                f"blocks of {given.small}": small,
                "times_less_cpu": small["cpu_seconds"] / large["cpu_seconds"],
                "voxels_that_differ": int((whole != parts).sum()),
            }
            print(engine, json.dumps(found[engine], indent=1))
    return found


def part(values: np.ndarray, tissue: Tissue, z0: int, z1: int) -> Labelled:
    """Sections of a volume, with their membranes."""
    box = (z0, 0, 0, z1, *values.shape[1:])
    return Labelled(Source(open_volume(values), boxes=(box,)), tissue.membranes)


def learnt(
    x: Labelled, y: Labelled, unseen: Labelled, asked: TransferParameters, clean: np.ndarray
) -> dict[str, Any]:
    """Train; the gate's rows, what was chosen after how long, and the gap of spectra.

    Args:
        x: what is trained on of X.
        y: what is trained on of Y.
        unseen: of X what no training sees.
        asked: of the training.
        clean: `(N, n, n)` what spectra are held against.
    """
    reached: dict[int, float] = {}

    def note(done: int) -> None:
        reached[done] = time.process_time()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted = fit_transfer([x], [y], [unseen], asked, folder, on_step=note)
        last = asked.steps
        given = fitted.samples
        generator = averaged_generator(folder, last, asked)
        made = np.clip(applied(generator, *fitted.levels, given), 0, 255)
    halo = asked.reach.halo
    tables = {name: inside(table[given], halo) for name, (table, _) in fitted.tables.items()}
    planes = {"as is": inside(given, halo), **tables, f"step {last}": made}
    best = fitted.chosen
    return {
        "chosen": best.name,
        "cpu_seconds": reached[best.step] - reached[1] if best.step > 0 else None,
        "cpu_seconds_of_all_steps": reached[last] - reached[1],
        "spectrum_gap": {name: spectrum_gap(each, clean) for name, each in planes.items()},
        "rows": [row.to_dict() for row in fitted.rows],
    }


def gate() -> dict[str, Any]:
    """Train on two synthetic volumes in three ways, one of them by the adversarial loss alone."""
    shape, cut = (20, 224, 224), 15
    tissues = {seed: make_tissue(shape, seed=seed) for seed in (1, 2)}
    of_x, of_y = (show(tissues[n], look, seed=n) for n, look in ((1, LOOK_X), (2, LOOK_Y)))
    x, unseen = part(of_x, tissues[1], 0, cut), part(of_x, tissues[1], cut, shape[0])
    y = part(of_y, tissues[2], 0, shape[0])
    base = TransferParameters(batch_size=4, checkpoint_every=50, planes="z", steps=300)
    ways = {
        "plain": replace(base, steps=600),
        "residual": replace(base, residual=True),
        "adversarial alone": replace(base, cycle=0.0, identity=0.0),
    }
    return {name: learnt(x, y, unseen, asked, of_y) for name, asked in ways.items()}


def self_test() -> dict[str, Any]:
    """Spoil part of one volume in a known way, learn from its other part how to undo it."""
    shape, cut, end = (32, 224, 224), 12, 16
    tissue = make_tissue(shape, seed=1)
    clean = show(tissue, LOOK_Y, seed=1)
    spoilt = spoil(clean, seed=1)
    x, unseen = part(spoilt, tissue, 0, cut), part(spoilt, tissue, cut, end)
    asked = TransferParameters(batch_size=4, checkpoint_every=50, planes="z", steps=300)
    return {"spoilt": learnt(x, part(clean, tissue, end, shape[0]), unseen, asked, clean)}


def axes() -> dict[str, Any]:
    """Train on planes of all three axes; F1 on sections that no training saw."""
    side, cut = 132, 100
    shape = (side, side, side)
    tissues = {seed: make_tissue(shape, seed=seed) for seed in (1, 2)}
    of_x, of_y = (show(tissues[n], look, seed=n) for n, look in ((1, LOOK_X), (2, LOOK_Y)))
    counts = histogram(of_x[:cut]), histogram(of_y)
    levels = mean_and_sd(counts[0]), mean_and_sd(counts[1])
    x = Domain([Source(open_volume(of_x), boxes=((0, 0, 0, cut, side, side),))], levels[0])
    y = Domain([Source(open_volume(of_y))], levels[1])
    task = train_task(Planes(of_y[::6], tissues[2].membranes[::6]), levels[1])
    made: dict[str, np.ndarray] = {
        "as is": of_x,
        "mean and SD": mean_sd_table(*counts)[of_x],
        "histogram": histogram_table(*counts)[of_x],
    }
    asked = TransferParameters(crop=96, planes="zyx", steps=300, checkpoint_every=300)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        train(build_networks(asked), x, y, asked, Path(name))
        taken = time.process_time() - begun
        generator = averaged_generator(Path(name), asked.steps, asked)
    for planes in ("z", "zyx"):
        out = np.zeros_like(of_x)
        grid = BlockGrid(shape, side, asked.reach.halo, planes, asked.reach.stride)
        transfer_volume(
            of_x, out, grid, lambda tiles: [applied(generator, *levels, tiles[..., 0])[..., None]]
        )
        made[f"planes across {planes}"] = out
    truth = tissues[1].membranes[cut:]
    return {
        "steps": asked.steps,
        "cpu_seconds_of_training": taken,
        "f1": {name: score(task, values[cut:], truth)[0] for name, values in made.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each engine and side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="8x512x512", help="of the volume, Z x Y x X")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--small", type=int, default=36)
    parser.add_argument("--gate", action="store_true", help="train, and score by the gate")
    parser.add_argument("--axes", action="store_true", help="train on planes of three axes")
    parser.add_argument("--self-test", action="store_true", help="learn to undo what is known")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/style_transfer.json"))
    given = parser.parse_args(arguments)
    if given.gate or given.self_test or given.axes:
        rows = gate() if given.gate else self_test() if given.self_test else axes()
        print(json.dumps(rows, indent=1))
    else:
        rows = {"shape": given.shape, **blocks(given)}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
