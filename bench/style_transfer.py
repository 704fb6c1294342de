"""How long a style-transfer network takes over a volume; with `--gate`, what training reaches.

`python -m bench.style_transfer [--shape 8x512x512] [--width 8] [--block 256] [--small 36] [--gate]`

The same generator with random weights is applied to the same planes, in blocks of the default side
and in blocks of 36, what transfer_em (2021) keeps of each read of 74. Both give the same voxels,
which is checked. Processor time is that of the transfer alone, the network loaded before.

With `--gate` two synthetic volumes are learnt from instead, by a plain generator and by a residual
one: the gate's rows of each, and the processor time from the first step to the chosen checkpoint.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, Look, make_tissue, show
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.style_transfer.applying import grid_for, transfer_volume
from cellmill.style_transfer.fitting import Labelled, fit_transfer
from cellmill.style_transfer.network import build_generator, export_generator, generator_card
from cellmill.style_transfer.training import TransferParameters
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
        card = generator_card("bench", planes="z", block=given.block)
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


def gate() -> dict[str, Any]:
    """Train on two synthetic volumes; the gate's rows, and what was chosen after how long."""
    shape, cut = (20, 224, 224), 15

    def shown(look: Look, seed: int, z0: int, z1: int) -> Labelled:
        tissue = make_tissue(shape, seed=seed)
        volume = open_volume(show(tissue, look, seed=seed), name=f"tissue {seed}")
        return Labelled(volume, tissue.membranes, (z0, 0, 0, z1, *shape[1:]))

    x, unseen = shown(LOOK_X, 1, 0, cut), shown(LOOK_X, 1, cut, shape[0])
    y = shown(LOOK_Y, 2, 0, shape[0])
    found: dict[str, Any] = {}
    for name, residual, steps in (("plain", False, 600), ("residual", True, 300)):
        asked = TransferParameters(
            steps=steps, batch_size=4, checkpoint_every=50, planes="z", residual=residual
        )
        reached: dict[int, float] = {}

        def note(done: int, reached: dict[int, float] = reached) -> None:
            reached[done] = time.process_time()

        with tempfile.TemporaryDirectory() as folder:
            fitted = fit_transfer(x, y, unseen, asked, Path(folder), on_step=note)
        best = fitted.chosen
        found[name] = {
            "chosen": best.name,
            "cpu_seconds": reached[best.step] - reached[1] if best.step > 0 else None,
            "rows": [row.to_dict() for row in fitted.rows],
        }
        print(name, json.dumps(found[name], indent=1))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each engine and side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="8x512x512", help="of the volume, Z x Y x X")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--small", type=int, default=36)
    parser.add_argument("--gate", action="store_true", help="train, and score by the gate")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/style_transfer.json"))
    given = parser.parse_args(arguments)
    rows = gate() if given.gate else blocks(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(
        json.dumps({"shape": "" if given.gate else given.shape, "rows": rows}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
