"""How long a style-transfer network takes over a volume; with `--gate`, what training reaches.

`python -m bench.style_transfer [--shape 8x512x512] [--width 8] [--block 256] [--small 36]`
`python -m bench.style_transfer --gate` `python -m bench.style_transfer --self-test`
`python -m bench.style_transfer --axes` `python -m bench.style_transfer --prior`
`python -m bench.style_transfer --volumes [--seed 0]`

The same generator with random weights is applied to the same planes, in blocks of the default side
and in blocks of 36, what transfer_em (2021) keeps of each read of 74. Both give the same voxels,
which is checked. Processor time is that of the transfer alone, the network loaded before.

With `--gate` two synthetic volumes are learnt from instead, by a plain generator, by a residual
one and by the adversarial loss alone: the gate's rows of each, the processor time from the first
step to the chosen checkpoint, and the gap of spectra. With `--self-test` X is a part of Y that was
spoilt in a known way: bent, blurred, full of holes. With `--axes` volumes are isotropic, planes of
all three axes are learnt from, and what the network makes across one axis and across three, whose
results are averaged, is scored as the gate does. With `--prior` the same is learnt with a small
segmenter of Y's membranes beside the discriminator of Y and without, from three pairs of volumes.
With `--volumes` planes of isotropic volumes are learnt from, then volumes, the generators inflated,
or more planes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.isotropic import axes, volumes
from cellmill import extras
from cellmill.datasets.spoilt_em import spoil
from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, Tissue, make_tissue, show
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.models.fetch import FetchedModel, fetch_model
from cellmill.models.savedmodel import write_savedmodel
from cellmill.style_transfer.applying import grid_for, transfer_volume
from cellmill.style_transfer.domains import Labelled, taught
from cellmill.style_transfer.fitting import fit_transfer
from cellmill.style_transfer.gate import between, inside, train_task
from cellmill.style_transfer.matching import (
    histogram,
    mean_and_sd,
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
from cellmill.style_transfer.training import applied, averaged_generator
from cellmill.style_transfer.volumes import open_volume

ENGINES = ("tensorflow", "openvino")
BASE = TransferParameters(batch_size=4, checkpoint_every=50, planes="z", steps=300)


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
    x: Labelled,
    y: Labelled,
    unseen: Labelled,
    asked: TransferParameters,
    clean: np.ndarray,
    prior: FetchedModel | None = None,
) -> dict[str, Any]:
    """Train; the gate's rows, what was chosen after how long, and the gap of spectra.

    Args:
        x: what is trained on of X.
        y: what is trained on of Y.
        unseen: of X what no training sees.
        asked: of the training.
        clean: `(N, n, n)` what spectra are held against.
        prior: what the discriminator of Y looks through.
    """
    reached: dict[int, float] = {}

    def note(done: int) -> None:
        reached[done] = time.process_time()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted = fit_transfer([x], [y], [unseen], asked, folder, prior=prior, on_step=note)
        last = asked.steps
        given = between(fitted.samples)
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


def pair(first: int) -> tuple[Labelled, Labelled, Labelled, np.ndarray]:
    """Two synthetic volumes: what is trained on of X and of Y, what is not, and Y itself.

    Args:
        first: seed of X's tissue; the next is Y's.
    """
    shape, cut = (20, 224, 224), 15
    tissues = [make_tissue(shape, seed=seed) for seed in (first, first + 1)]
    of_x, of_y = (
        show(tissue, look, seed=first + n)
        for n, (tissue, look) in enumerate(zip(tissues, (LOOK_X, LOOK_Y), strict=True))
    )
    x, unseen = part(of_x, tissues[0], 0, cut), part(of_x, tissues[0], cut, shape[0])
    return x, part(of_y, tissues[1], 0, shape[0]), unseen, of_y


def gate() -> dict[str, Any]:
    """Train on two synthetic volumes in three ways, one of them by the adversarial loss alone."""
    x, y, unseen, of_y = pair(1)
    ways = {
        "plain": replace(BASE, steps=600),
        "residual": replace(BASE, residual=True),
        "adversarial alone": replace(BASE, cycle=0.0, identity=0.0),
    }
    return {name: learnt(x, y, unseen, asked, of_y) for name, asked in ways.items()}


def segmenter(y: Labelled, folder: Path, seed: int) -> FetchedModel:
    """Train a small network to find Y's membranes; its card says logits of every pixel."""
    planes = taught([y], seed)
    levels = mean_and_sd(histogram(planes.grey))
    network = train_task(planes, levels, seed=seed).network
    tf, reach = extras.load("tensorflow", "style transfer"), reach_of(2)
    around = ((0, 0), (reach.halo, reach.halo), (reach.halo, reach.halo), (0, 0))

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")],
        autograph=False,
    )
    def serve(image: Any) -> dict[str, Any]:
        return {"membranes": network(tf.pad((image - levels[0]) / levels[1], around, "REFLECT"))}

    write_savedmodel(folder, serve, network.weights)
    card = generator_card("membranes", reach=reach)
    replace(card, heads=(replace(card.heads[0], name="membranes", margin=0),)).save(folder)
    return fetch_model(str(folder))


def with_prior() -> dict[str, Any]:
    """Train with a segmenter of Y's membranes beside the discriminator and without, three times."""
    found: dict[str, Any] = {}
    leads: dict[str, list[float]] = {"chosen": [], "last three checkpoints": []}
    for seed in range(3):
        x, y, unseen, of_y = pair(2 * seed + 1)
        asked = replace(BASE, seed=seed)
        with tempfile.TemporaryDirectory() as name:
            # Not the seed of the network that scores.
            prior = segmenter(y, Path(name), seed + 100)
            ways = {"without": None, "with": prior}
            both = {way: learnt(x, y, unseen, asked, of_y, given) for way, given in ways.items()}
        for each in both.values():
            f1 = {row["name"]: row["f1_apart"] for row in each["rows"]}
            each["f1"] = {
                "chosen": f1[each["chosen"]],
                "last three checkpoints": float(np.mean([*f1.values()][-3:])),
            }
        for what, of in leads.items():
            of.append(both["with"]["f1"][what] - both["without"]["f1"][what])
        found[f"seed {seed}"] = both
        print(seed, {way: each["f1"] for way, each in both.items()}, flush=True)
    return {"f1_with_less_f1_without": leads, **found}


def self_test() -> dict[str, Any]:
    """Spoil part of one volume in a known way, learn from its other part how to undo it."""
    shape, cut, end = (32, 224, 224), 12, 16
    tissue = make_tissue(shape, seed=1)
    clean = show(tissue, LOOK_Y, seed=1)
    spoilt = spoil(clean, seed=1)
    x, unseen = part(spoilt, tissue, 0, cut), part(spoilt, tissue, cut, end)
    return {"spoilt": learnt(x, part(clean, tissue, end, shape[0]), unseen, BASE, clean)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each engine and side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="8x512x512", help="of the volume, Z x Y x X")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--small", type=int, default=36)
    parser.add_argument("--gate", action="store_true", help="train, and score by the gate")
    parser.add_argument("--axes", action="store_true", help="train on planes of three axes")
    parser.add_argument("--volumes", action="store_true", help="go on with volumes, inflated")
    parser.add_argument("--seed", type=int, default=0, help="of --volumes")
    parser.add_argument("--self-test", action="store_true", help="learn to undo what is known")
    parser.add_argument("--prior", action="store_true", help="train with a prior and without")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/style_transfer.json"))
    given = parser.parse_args(arguments)
    trainings = {"gate": gate, "self_test": self_test, "axes": axes, "prior": with_prior}
    trainings["volumes"] = partial(volumes, given.seed)
    asked = [name for name in trainings if vars(given)[name]]
    if asked:
        rows = trainings[asked[0]]()
        print(json.dumps(rows, indent=1))
    else:
        rows = {"shape": given.shape, **blocks(given)}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
