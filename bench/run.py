"""Times a whole run of one small image against the work that its stages do, and `cellmill.segment`.

`python -m bench.run [--repeats 5] [--engine auto] [--image FILE --truth FILE]`

Each repeat is `make run` of the sample (its command, in a process of its own), warm: one run before
has made environments and compiled kernels. The stages' own work is what their records count, from
after their imports to their outputs. `cellmill.segment` is timed in fresh processes of this Python,
from their start to their end. Prints medians, and writes `outputs/bench/run.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.speeds import stage_seconds
from cellmill.arrays.files import write_text
from cellmill.contract.recording import machine
from cellmill.datasets import samples
from launch import ROOT
from launch.local.warm import VARIABLE

_SEGMENT = "import cellmill, sys; print(len(cellmill.segment(sys.argv[1]).labels))"


def seconds(command: Sequence[str], environ: Mapping[str, str]) -> float:
    """Run a command to its end; its wall seconds."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _environ() -> dict[str, str]:
    """This process's variables, with modules' bytecode kept, as Python does of itself."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def whole_runs(
    folder: Path, flags: Sequence[str], repeats: int, *, is_warm: bool
) -> dict[str, Any]:
    """Run the pipeline so many times after one that does not count; times, their ratios, stages."""
    environ = {**_environ(), VARIABLE: "1" if is_warm else "0"}
    command = [sys.executable, "-m", "launch.run", "deepcell_segmentation", *flags]
    wholes, works, stages = [], [], []
    for turn in range(repeats + 1):
        shutil.rmtree(folder, ignore_errors=True)
        spent = seconds([*command, "--output", str(folder)], environ)
        if turn:
            wholes.append(spent)
            stages.append(stage_seconds(folder))
            works.append(sum(stages[-1].values()))
    ratios = [whole / work for whole, work in zip(wholes, works, strict=True)]
    return {
        "whole_s": wholes,
        "stages_s": works,
        "ratio": ratios,
        "each_s": {name: statistics.median(s[name] for s in stages) for name in stages[0]},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--image", default="")
    parser.add_argument("--truth", default="")
    parser.add_argument("--anew", action="store_true", help="also with every task started anew")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench" / "run.json")
    given = parser.parse_args(argv)
    image = given.image or str(samples.sample_image()[0])
    flags = ["--engine", given.engine]
    if given.image:
        flags += ["--image", given.image, *(["--truth", given.truth] if given.truth else [])]
    found: dict[str, Any] = {"machine": machine(), "engine": given.engine}
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        found["warm"] = whole_runs(run, flags, given.repeats, is_warm=True)
        if given.anew:
            found["anew"] = whole_runs(run, flags, given.repeats, is_warm=False)
    command = [sys.executable, "-c", _SEGMENT, image]
    found["segment_s"] = [seconds(command, _environ()) for _ in range(given.repeats + 1)][1:]
    for name in ("warm", "anew"):
        if name in found:
            whole, work, ratio = (
                statistics.median(found[name][key]) for key in ("whole_s", "stages_s", "ratio")
            )
            print(f"{name}: whole run {whole:.1f} s, stages' own work {work:.1f} s, {ratio:.1f}×")
    for stage, spent in found["warm"]["each_s"].items():
        print(f"  {stage:<16} {spent:.2f} s")
    print(f"cellmill.segment in a fresh process: {statistics.median(found['segment_s']):.1f} s")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.output, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
