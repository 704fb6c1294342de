"""Every stage of a slide on mosaics of growing size: seconds, megapixels a second, memory.

`python -m bench.slide [--shapes 4096x4096 16384x16384 27120x26139] [--predict-shards 1]`

Each stage runs in a process of its own, as in a pipeline. Its memory is the most that it held above
what the same stage takes for 300 × 300 pixels: the interpreter, its libraries, the model. Where
`--predict-shards` leaves shards out (a CPU takes minutes for hundreds of megapixels), the maps that
post-processing reads are made from the mosaic's truth instead, and say so.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.maps import network_maps
from bench.mosaic import Mosaic, write_mosaic
from cellmill.arrays.batch import Batch
from cellmill.arrays.windows import Grid
from cellmill.compute.threads import in_threads, thread_count
from cellmill.stages.shared.slides.plan import UNIT
from launch import ROOT

_SMALL = (300, 300)
_BLOCK = 512

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One stage on one slide.

    Attributes:
        stage: its name.
        shape: of the slide, Y and X.
        megapixels: that this run worked on.
        seconds: of the whole process.
        start_seconds: what the same stage takes for a small image: mostly imports.
        peak_mib: the most memory, above that for a small image.
    """

    stage: str
    shape: tuple[int, int]
    megapixels: float
    seconds: float
    start_seconds: float
    peak_mib: float

    @property
    def speed(self) -> float:
        """Megapixels a second once the process has started."""
        return self.megapixels / max(self.seconds - self.start_seconds, 1e-3)

    def __str__(self) -> str:
        return (
            f"{self.stage:15} {self.shape[0]:6} × {self.shape[1]:6}  {self.seconds:7.1f} s "
            f"{self.speed:7.1f} Mpx/s {self.peak_mib:7.0f} MiB"
        )


def run(stage: str, folder: Path, **flags: Any) -> tuple[float, int]:
    """Run a stage by hand; its seconds and peak resident memory in bytes."""
    given: list[str] = []
    for name, value in flags.items():
        values = value if isinstance(value, list) else [value]
        given += [f"--{name.replace('_', '-')}", *map(str, values)]
    begun = time.perf_counter()
    with (folder / f"{stage}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cellmill", stage, *given], cwd=ROOT, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{stage} failed: {(folder / f'{stage}.log').read_text()[-2000:]}")
    return time.perf_counter() - begun, usage.ru_maxrss * 1024


def aside(work: Callable[..., T], *arguments: Any) -> T:
    """Do some work in a process of its own.

    What the system says of a process' peak memory is never less than its parent's was at the start:
    this process has to stay small.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def slide(
    shape: tuple[int, int], folder: Path, predicted: int, memory_mib: int
) -> Iterator[tuple[str, float, float, int]]:
    """Run all stages on one mosaic: stage, megapixels, seconds and peak bytes of each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    image, truth = aside(write_mosaic, folder, shape)
    pixels = shape[0] * shape[1] / 1e6
    at = {
        name: folder / name
        for name in (
            *("images", "truth", "model", "plan", "segmentation", "labels", "preprocessed"),
            *("label_images", "measurements", "scores", "metrics", "reports", "html"),
        )
    }
    memory = {"memory_mib": memory_mib}

    def take(*names: str) -> dict[str, Path]:
        return {name: at[name] for name in names}

    item = json.dumps([{"image": str(image), "truth": str(truth)}])
    opened = run("tiff_to_npz", folder, items=item, container="zarr", **take("images", "truth"))
    yield "tiff_to_npz", pixels, *opened
    run("fetch_model", folder, **take("model"))
    planned = run("plan_slide", folder, **take("images", "model", "plan"), **memory)
    yield "plan_slide", pixels, *planned
    done = run("preprocess", folder, **take("images", "model", "preprocessed"), **memory)
    yield "preprocess", pixels, *done
    shutil.rmtree(at["preprocessed"])
    (entry,) = Batch.open(at["plan"]).entries
    shards = entry.attributes["plan"]["shards"]
    parts, records = [], []
    for k, (y0, y1, x0, x1) in enumerate(shards):
        parts.append(folder / f"predicted-{k}")
        records.append(folder / f"predicted-{k}.json")
        flags: dict[str, Any] = {"predicted": parts[-1], "record": records[-1], "shard": k}
        if k < predicted:
            done = run(
                "predict_shard", folder, **take("images", "model", "plan"), **flags, **memory
            )
            yield "predict_shard", (y1 - y0) * (x1 - x0) / 1e6, *done
        else:
            # Only its outputs are needed: the maps are made.
            shutil.copytree(parts[0], parts[-1])
            shutil.copy(records[0], records[-1])
    if predicted < len(shards):
        aside(make_maps, at["plan"], shape)
    flags = {"predicted": parts, "predict_records": records, "predict_record": folder / "p.json"}
    done = run("plan_segmentation", folder, **take("plan", "segmentation"), **flags, **memory)
    yield "plan_segmentation", pixels, *done
    parts, records = [], []
    for k, (y0, y1, x0, x1) in enumerate(shards):
        parts.append(folder / f"segmented-{k}")
        records.append(folder / f"segmented-{k}.json")
        flags = {"segmented": parts[-1], "record": records[-1], "shard": k}
        done = run("segment_shard", folder, **take("segmentation"), **flags, **memory)
        yield "segment_shard", (y1 - y0) * (x1 - x0) / 1e6, *done
    flags = {"segmented": parts, "segment_records": records, "segment_record": folder / "s.json"}
    done = run("stitch", folder, **take("segmentation", "labels"), **flags, **memory)
    yield "stitch", pixels, *done
    for stage, names in (
        ("export_labels", ("labels", "label_images")),
        ("measure", ("images", "labels", "measurements")),
        ("metrics", ("labels", "truth", "scores", "metrics")),
        ("report", ("images", "labels", "measurements", "scores", "truth", "reports", "html")),
    ):
        limit = {} if stage == "report" else memory
        yield stage, pixels, *run(stage, folder, **take(*names), **limit)


def make_maps(plan: Path, shape: tuple[int, int]) -> None:
    """Fill a plan's maps with what a network could have given for the mosaic's truth."""
    batch = Batch.open(plan)
    (entry,) = batch.entries
    truth = Mosaic(shape, 1)
    grid, blocks = Grid(shape, UNIT), Grid(shape, _BLOCK)

    @functools.cache
    def maps_of(turn: int) -> tuple[np.ndarray, np.ndarray]:
        return network_maps(truth.turned(turn))

    def fill(tile: int) -> None:
        box = grid.box(tile)
        for number, key in enumerate(("nuclear_maxima", "nuclear_interior")):
            values = np.zeros(box.shape, np.float32)
            for block in blocks.overlapping(box):
                place = blocks.box(block)
                made = maps_of(truth.turn(block))[number]
                values[place.within(box)] = made[: place.shape[0], : place.shape[1]]
            batch.store(entry, key, write=True)[box.slices] = values

    for turn in range(8):
        maps_of(turn)
    in_threads(fill, range(len(grid)))


def joined(rows: Sequence[tuple[str, float, float, int]]) -> dict[str, tuple[float, float, int]]:
    """Add up a stage's tasks: megapixels and seconds; of memory the most."""
    found: dict[str, tuple[float, float, int]] = {}
    for stage, pixels, seconds, peak in rows:
        have = found.get(stage, (0.0, 0.0, 0))
        found[stage] = (have[0] + pixels, have[1] + seconds, max(have[2], peak))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `slide.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["4096x4096", "16384x16384", "27120x26139"])
    parser.add_argument("--predict-shards", type=int, default=1)
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    parser.add_argument("--keep", action="store_true", help="keep the last slide's folder")
    given = parser.parse_args(arguments)
    folder = given.output / "slide"
    given.output.mkdir(parents=True, exist_ok=True)
    small = [*slide(_SMALL, folder, 1, given.memory_mib)]
    base = {stage: (seconds, peak) for stage, _, seconds, peak in small}
    rows: list[Row] = []
    for text in given.shapes:
        height, width = (int(side) for side in text.split("x"))
        tasks: list[tuple[str, float, float, int]] = []
        for task in slide((height, width), folder, given.predict_shards, given.memory_mib):
            tasks.append(task)
            print(f"  {task[0]}: {task[2]:.1f} s", file=sys.stderr, flush=True)
        counts = {stage: sum(t[0] == stage for t in tasks) for stage in base}
        for stage, (pixels, seconds, peak) in joined(tasks).items():
            start, resting = base[stage]
            above = max(peak - resting, 0) / 2**20
            rows.append(Row(stage, (height, width), pixels, seconds, start * counts[stage], above))
            print(rows[-1], flush=True)
    about = {"threads": thread_count(), "memory_mib": given.memory_mib}
    table = [{**asdict(row), "mpx_per_second": row.speed} for row in rows]
    path = given.output / "slide.json"
    path.write_text(json.dumps({"machine": about, "rows": table}, indent=2) + "\n")
    if not given.keep:
        shutil.rmtree(folder)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
