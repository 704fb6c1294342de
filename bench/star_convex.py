"""StarDist's suppression and labels against its own package, and slides tile by tile.

`python -m bench.star_convex [--sides 2048 4096] [--volume 40 160 160] [--slide 27136]
[--memory-mib 1024]`

Maps are made from a mosaic of the nuclei of stardist's sample image, and from a volume of balls
side by side (96 rays), by StarDist's own code, with noise; both packages are given the same
candidates in the same order, on the same machine, in one run. A slide repeats such maps as they are
read; its memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Box, Grid
from cellmill.arrays.workspace import StoredWorkspace
from cellmill.compute.memory import peak_rss
from cellmill.compute.threads import thread_count, threads_within
from cellmill.datasets.samples import sample_image
from cellmill.labels.tiles import find_objects
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.stardist.candidates import find_candidates
from cellmill.segmentation.stardist.in_memory import draw_whole
from cellmill.segmentation.stardist.method import METHOD
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.suppression import KEPT, suppress
from cellmill.segmentation.stardist.volume_candidates import find_volume_candidates
from cellmill.segmentation.stardist.volume_drawing import draw_volume
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes
from cellmill.terminal import say
from launch import ROOT
from launch.images.environments import environment

_SIDE_SCRIPT = ROOT / "bench" / "stardist_side.py"
_VOLUME_SCRIPT = ROOT / "bench" / "stardist_volume_side.py"
#: Of the balls of a volume: how far they are apart, and the mean of their radii, voxels.
_APART, _RADIUS, _VOLUME_NMS = 17, 8.5, 0.3
_GRID, _PARAMETERS, _REPEATS = 2, StarDistParameters(prob_threshold=0.5, nms_threshold=0.4), 3
_ROLES = ("probability", "distances")
_NAMES = dict(zip(_ROLES, _ROLES, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, and write it to outputs/bench/stardist.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", nargs="*", type=int, default=[2048, 4096])
    parser.add_argument(
        "--volume", nargs="*", type=int, default=[40, 160, 160], help="voxels; none is no volume"
    )
    parser.add_argument("--slide", type=int, default=27136, help="pixels a side; 0 is none")
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--maps", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.maps:
        say(json.dumps(_slide(Path(given.maps), given.slide, given.memory_mib)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="cellmill-bench-") as folder:
        for side in given.sides:
            rows.append(_compared(Path(folder), side))
            say(json.dumps(rows[-1]))
        if given.slide:
            rows.append(_in_a_process(Path(folder), given.slide, given.memory_mib))
            say(json.dumps(rows[-1]))
        # Its maps take the place of the mosaic's, which the slide repeats.
        if given.volume:
            rows.append(_volume(Path(folder), tuple(given.volume)))
            say(json.dumps(rows[-1]))
    out = ROOT / "outputs" / "bench" / "stardist.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"threads": thread_count(), "rows": rows}, indent=1) + "\n")
    return 0


def _compared(folder: Path, side: int) -> dict[str, Any]:
    """Both packages on a mosaic of a side."""
    np.save(folder / "labels.npy", _mosaic(side))
    _run(_SIDE_SCRIPT, folder)
    with np.load(folder / "maps.npz") as made, np.load(folder / "found.npz") as found:
        arrays = {role: made[role] for role in _ROLES}
        kept, theirs = found["kept"], found["seconds"]
    maps = Maps(arrays, _NAMES, (side, side), strides=_strides())
    every = find_candidates(maps, _PARAMETERS, [Box(0, side, 0, side)])
    suppress(every, _PARAMETERS.nms_threshold)
    fates, ours = _timed(lambda: suppress(every, _PARAMETERS.nms_threshold))
    objects = every[fates == KEPT]
    _, drawing = _timed(lambda: draw_whole(objects, np.zeros((side, side), np.int32)))
    return {
        "side": side,
        "candidates": len(every),
        "objects": len(objects),
        "kept otherwise": int(np.count_nonzero((fates == KEPT) != kept)),
        "suppression": _row(theirs[:2], ours),
        "labels": _row(theirs[2:], drawing),
    }


def _volume(folder: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Both packages on a volume of balls."""
    np.save(folder / "labels.npy", _balls(shape))
    _run(_VOLUME_SCRIPT, folder)
    with np.load(folder / "maps.npz") as made, np.load(folder / "found.npz") as found:
        arrays = {role: made[role] for role in _ROLES}
        kept, theirs = found["kept"], found["seconds"]
    maps = Maps(arrays, _NAMES, shape, strides=_strides())
    every = find_volume_candidates(maps, _PARAMETERS)
    rays = golden_spiral(every.rays.shape[1])

    def suppressed() -> np.ndarray:
        polyhedra = polyhedra_of(every.points, every.rays, rays)
        return suppress_volumes(polyhedra, _VOLUME_NMS) == KEPT

    def drawn() -> None:
        polyhedra = polyhedra_of(objects.points, objects.rays, rays)
        draw_volume(polyhedra, objects.score, np.zeros(shape, np.int32))

    suppressed()
    mine, ours = _timed(suppressed)
    objects = every[mine]
    _, drawing = _timed(drawn)
    return {
        "volume": shape,
        "candidates": len(every),
        "objects": len(objects),
        "kept otherwise": int(np.count_nonzero(mine != kept)),
        "suppression": _row(theirs[:2], ours),
        "labels": _row(theirs[2:], drawing),
    }


def _run(script: Path, folder: Path) -> None:
    """Run a script in StarDist's environment."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [str(environment("stardist")), str(script), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=variables)


def _balls(shape: tuple[int, ...]) -> np.ndarray:
    """Balls of several sizes, about as far apart in each direction."""
    rng, labels, grid = np.random.default_rng(0), np.zeros(shape, np.int32), np.indices(shape)
    cells = np.ndindex(*(side // _APART for side in shape))
    for number, cell in enumerate(cells, start=1):
        centre = (np.array(cell) + 0.5) * _APART + rng.uniform(-2, 2, 3)
        radius = _RADIUS * rng.uniform(0.8, 1.2)
        low = np.maximum((centre - radius).astype(int), 0)
        box = tuple(slice(a, a + int(2 * radius) + 3) for a in low)
        apart = sum((g[box] - c) ** 2 for g, c in zip(grid, centre, strict=True))
        labels[box][apart < radius**2] = number
    return labels


def _row(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    return {
        "stardist_s": round(float(theirs[0]), 4),
        "stardist_cpu_s": round(float(theirs[1]), 4),
        "cellmill_s": round(ours[0], 4),
        "cellmill_cpu_s": round(ours[1], 4),
        "cpu_ratio": round(float(theirs[1]) / ours[1], 1),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What some work gives, and the least wall and processor seconds of some repeats."""
    walls, processor = [], []
    for _ in range(_REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    return result, (min(walls), min(processor))


def _mosaic(side: int) -> np.ndarray:
    """The sample's label image repeated, each nucleus with a number of its own: uint16 does."""
    block = tifffile.imread(sample_image()[1]).astype(np.int64)
    times = -(-side // len(block))
    every = np.tile(block, (times, times))[:side, :side]
    places = np.arange(side) // len(block)
    numbers = every + (places[:, None] * times + places) * (int(block.max()) + 1)
    return np.where(every > 0, numbers, 0).astype(np.int32)


def _strides() -> dict[str, int]:
    return dict.fromkeys(_ROLES, _GRID)


class _Repeated:
    """A map repeated over a slide, read by windows."""

    def __init__(self, block: np.ndarray, side: int) -> None:
        self._block, self.dtype = block, block.dtype
        self.shape = (side, side, *block.shape[2:])

    def __getitem__(self, window: Any, /) -> np.ndarray:
        rows, columns = (
            np.arange(*part.indices(side)) % block
            for part, side, block in zip(window[:2], self.shape, self._block.shape, strict=False)
        )
        return self._block[np.ix_(rows, columns)]


def _in_a_process(folder: Path, side: int, memory_mib: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.star_convex", "--maps", str(folder / "maps.npz")]
    done = subprocess.run(
        [*command, "--slide", str(side), "--memory-mib", str(memory_mib)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _slide(path: Path, side: int, memory_mib: int) -> dict[str, Any]:
    """A slide that repeats the maps of a mosaic, tile by tile."""
    with np.load(path) as made:
        blocks = {role: np.ascontiguousarray(made[role][:1024, :1024]) for role in _ROLES}
    tile = METHOD.tiled.side_within(memory_mib) if METHOD.tiled else 0
    threads = threads_within(memory_mib, METHOD.tiled.bytes_for(tile) if METHOD.tiled else 0)
    row: dict[str, Any] = {}
    for each in (2 * tile, side):  # the first compiles, and takes what the program itself takes
        arrays = {role: _Repeated(block, each // _GRID) for role, block in blocks.items()}
        maps = Maps(arrays, _NAMES, (each, each), strides=_strides())
        before, grid = peak_rss(), Grid((each, each), tile)
        with tempfile.TemporaryDirectory(prefix="cellmill-bench-") as place:
            workspace = StoredWorkspace(place, "", side=tile)
            work = METHOD.tiled.open(maps, _PARAMETERS, grid, workspace) if METHOD.tiled else None
            assert work is not None
            start, cpu = time.perf_counter(), time.process_time()
            work.prepare(threads)
            work.work(range(len(grid)), threads)
            worked = time.perf_counter()
            counts = dict(work.settle(threads))
            settled = time.perf_counter()
            objects = len(find_objects(work.labels(threads), grid, threads).ids)
            end = time.perf_counter()
        row = {
            "slide": each,
            "tile": tile,
            "objects": objects,
            "work_s": round(worked - start, 1),
            "settle_s": round(settled - worked, 1),
            "labels_read_s": round(end - settled, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "memory_above_mib": round((peak_rss() - before) / 2**20),
            "peak_mib": round(peak_rss() / 2**20),
            **counts,
        }
    return row


if __name__ == "__main__":
    raise SystemExit(main())
