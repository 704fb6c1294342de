"""Deconvolution against scikit-image's `richardson_lucy`, in one run: speed, memory, likelihood.

`python -m bench.restoration [--iterations 10] [--repeats 3] [--device cuda] [--output …]`

Every row runs in a process of its own, on the same synthetic image; the processor's time is that of
all threads. Memory is what the process holds at most above what it holds before, in float32 arrays
of the image. The reference computes in float32 too, on one thread, as it does by itself.

With `--device cuda` the same is computed on a GPU (`torch`: by torch on processors), and each row
also says which part it is of what the memory's bandwidth allows, measured by copying an array in
the same process: an iteration moves at least 145 bytes a voxel of the window that is computed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.files import write_text
from cellmill.compute.devices import DEVICES, device_for
from cellmill.compute.memory import peak_rss
from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput
from cellmill.restoration import Microscope, deconvolve, make_psf
from cellmill.restoration.operations import operations_on
from cellmill.restoration.richardson_lucy import computed_shape
from launch import ROOT

SHAPES = {"volume": (64, 256, 256), "image": (2048, 2048)}
WAYS: dict[str, dict[str, Any] | None] = {
    "scikit-image": None,
    "valid": {},
    "circulant": {"edges": "circulant"},
    "valid, total variation": {"total_variation": 1e-3},
    "valid, accelerated": {"accelerate": True},
}
_SIDE = 33
#: Bytes that an iteration moves at least, a voxel: four FFTs, two products, ratio and update.
_BYTES = 145


def main(argv: Sequence[str] | None = None) -> int:
    """Run every row and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.restoration", description=main.__doc__)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs" / "bench" / "restoration.json"
    )
    parser.add_argument("--device", choices=DEVICES[1:], default="cpu")
    parser.add_argument("--row", nargs=2, metavar=("SHAPE", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.row:
        print(json.dumps(measure(given.row[0], given.row[1], given)))
        return 0
    try:
        device_for(given.device, 1)
    except BadInput as bad:
        parser.exit(2, f"{bad}\n")
    rows = [_in_process(shape, way, given) for shape in SHAPES for way in WAYS]
    print(f"{thread_count()} threads, load {os.getloadavg()[0]:.1f} at the end")
    heads = f"{'ratio':>7}{'CPU ratio':>10}{'arrays':>8}{'of limit':>9}"
    print(f"{'':34}{'Mvoxel·iterations/s':>20}{heads}")
    for row in rows:
        peer = next(r for r in rows if r["shape"] == row["shape"])
        ratio, cpu = (peer[key] / row[key] for key in ("seconds", "cpu_seconds"))
        name = f"{row['shape']}, {row['way']}"
        print(
            f"{name:34}{row['rate']:20.1f}{ratio:7.1f}{cpu:10.1f}{row['arrays']:8.1f}{row['of_limit']:9.0%}"
        )
    write_text(given.output, json.dumps(rows, indent=1) + "\n")
    return 0


def measure(shape: str, way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Time one way on one image; the median of the repeats, after a run that compiles."""
    size = SHAPES[shape]
    spacing = (0.3, 0.15, 0.15)[-len(size) :]
    psf = make_psf(Microscope(1.0, 520, immersion_index=1.33), spacing, (_SIDE,) * len(size))
    image = np.random.default_rng(0).poisson(100, size).astype(np.float32)
    settings = WAYS[way]

    def run(pixels: np.ndarray, count: int) -> None:
        if settings is None:
            from skimage.restoration import richardson_lucy

            richardson_lucy(pixels, psf, num_iter=count, clip=False)
        else:
            deconvolve(pixels, psf, iterations=count, device=given.device, **settings)

    run(image[tuple(slice(0, _SIDE + 7) for _ in size)], 2)
    before, walls, cpus = peak_rss(), [], []
    for _ in range(given.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run(image, given.iterations)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    seconds = statistics.median(walls)
    edges = (settings or {}).get("edges", "valid" if settings is not None else "circulant")
    moved = _BYTES * math.prod(computed_shape(size, psf.shape, edges)) * given.iterations
    return {
        "shape": shape,
        "way": way,
        "seconds": seconds,
        "cpu_seconds": statistics.median(cpus),
        "rate": image.size * given.iterations / seconds / 1e6,
        "arrays": (peak_rss() - before) / image.nbytes,
        "of_limit": moved / seconds / _bandwidth(given.device if settings is not None else "cpu"),
    }


def _bandwidth(device: str) -> float:
    """Bytes a second that the device reads and writes, copying 256 MiB; the best of nine times."""
    on = operations_on(device, None)
    source = on.put(np.ones(1 << 26, np.float32))
    target, best = on.empty_like(source), math.inf
    for _ in range(9):
        began = time.perf_counter()
        target[...] = source
        # A GPU has done it when a value of it is here.
        on.get(target[:1])
        best = min(best, time.perf_counter() - began)
    return 2 * (4 << 26) / best


def _in_process(shape: str, way: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.restoration", "--row", shape, way]
    command += ["--iterations", str(given.iterations), "--repeats", str(given.repeats)]
    command += ["--device", given.device]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found: dict[str, Any] = json.loads(said)
    return found


if __name__ == "__main__":
    sys.exit(main())
