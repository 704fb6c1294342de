"""Measures each stage's speed in whole runs, for `make estimate`: writes `launch/speeds.json`.

`python -m bench.speeds [--shapes 512x512 4096x4096]`

Both pipelines that segment run on a small and on a large mosaic; a stage's time is taken from its
records. Its speed is the pixels that the large one has more by the seconds that it took longer;
what is left of the small one's time is its start.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bench.mosaic import write_mosaic
from cellmill.contract.recording import machine
from launch import ROOT
from launch.estimate import SPEEDS

PIPELINES = ("deepcell_segmentation", "slide_segmentation")


def records(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a run's tasks."""
    for path in sorted((run / "artifacts").rglob("record")):
        if path.is_file():
            yield json.loads(path.read_text())


def stage_seconds(run: Path) -> dict[str, float]:
    """Return the wall seconds of each of a run's stages, its tasks added up."""
    spent: dict[str, float] = {}
    for record in records(run):
        stage = record["stage"]
        spent[stage] = spent.get(stage, 0.0) + record["totals"]["wall_s"]
    return spent


def fitted(
    small: tuple[float, Mapping[str, float]], large: tuple[float, Mapping[str, float]]
) -> dict[str, dict[str, float | None]]:
    """Return each stage's start in seconds and its speed in megapixels a second.

    A stage that took no longer for the large image has no speed: it takes its start.

    Args:
        small: megapixels, and seconds by stage.
        large: the same of the larger run.
    """
    found: dict[str, dict[str, float | None]] = {}
    for stage, seconds in large[1].items():
        first = small[1][stage]
        longer = seconds - first
        speed = (large[0] - small[0]) / longer if longer > 0.1 * first else None
        start = max(0.0, first - small[0] / speed) if speed else seconds
        found[stage] = {
            "start_s": round(start, 2),
            "mpx_per_s": None if speed is None else float(f"{speed:.3g}"),
        }
    return found


def run(pipeline: str, image: Path, truth: Path, folder: Path) -> dict[str, float]:
    """Run a pipeline on an image with truth; the seconds of its stages."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "launch.run", pipeline, "--image", str(image)]
    command += ["--truth", str(truth)]
    command += ["--output", str(folder)]
    if pipeline == "slide_segmentation":
        command += ["--most-shards", "1"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return stage_seconds(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs=2, default=["512x512", "4096x4096"])
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench" / "speeds")
    given = parser.parse_args(arguments)
    stages: dict[str, dict[str, float | None]] = {}
    for pipeline in PIPELINES:
        measured = []
        # The first run compiles what the clone has not compiled yet: it does not count.
        for shape in (given.shapes[0], *given.shapes):
            height, width = (int(side) for side in shape.split("x"))
            image, truth = write_mosaic(given.output / shape, (height, width))
            spent = run(pipeline, image, truth, given.output / f"{pipeline}-{shape}")
            measured.append((height * width / 1e6, spent))
        stages.update(fitted(*measured[1:]))
    here = machine()
    document = json.loads(SPEEDS.read_text()) if SPEEDS.exists() else {}
    document["measured"] = {
        "command": f"make speeds BENCH='--shapes {' '.join(given.shapes)}'",
        "date": date.today().isoformat(),
        "cpus": here["cpus"],
        "cpu_model": here["cpu_model"],
        # Above the number of processors, other work was in the way.
        "load": round(os.getloadavg()[2], 1),
        "stages": dict(sorted(stages.items())),
    }
    SPEEDS.write_text(json.dumps(document, indent=1) + "\n")
    for stage, speed in sorted(stages.items()):
        print(f"{stage:16} start {speed['start_s']:6} s, {speed['mpx_per_s'] or '–':>8} Mpx/s")
    print(f"written to {SPEEDS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
