"""Deep watershed, h-maxima and Mesmer's preprocessing against the reference, in one run.

`python -m bench.kernels [--sizes 1024 2048 4096] [--repeats 5] [--output outputs/bench]`

Ours is timed `--repeats` times before and after the reference, which runs once; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage.morphology

from bench.maps import mosaic, network_maps
from cellmill.compiled import thread_count
from cellmill.models.card import Preprocessing
from cellmill.preprocessing import preprocess
from cellmill.segmentation import ball_footprint, canonical_labels, deep_watershed, h_maxima
from launch.environments import environment
from launch.paths import ROOT

#: Mesmer's whole-cell defaults.
MESMER = {"maxima_threshold": 0.075, "interior_threshold": 0.2, "interior_smooth": 2, "radius": 2}
MESMER |= {"small_objects_threshold": 15, "fill_holes_threshold": 15}


def seconds(work: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Times of several calls, and the last one's result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return times, result


def against(
    ours: Callable[[], Any], theirs: Callable[[], tuple[float, Any]], repeats: int
) -> tuple[float, float, Any, Any]:
    """Median of ours before and after, the time of theirs, and both results."""
    ours()
    before, _ = seconds(ours, repeats)
    their_time, their_result = theirs()
    after, result = seconds(ours, repeats)
    return statistics.median(before + after), their_time, result, their_result


def in_deepcell(name: str, **arrays: Any) -> Callable[[], tuple[float, np.ndarray]]:
    """What runs one case in deepcell's environment and gives its own timing and result."""

    def run() -> tuple[float, np.ndarray]:
        python = os.environ.get("CELLMILL_DEEPCELL_PYTHON") or str(environment("deepcell"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.npz"
            np.savez(path, **arrays)
            script = str(ROOT / "bench" / "deepcell_side.py")
            subprocess.run(
                [python, script, folder],
                check=True,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
            )
            taken = float(path.with_suffix(".seconds").read_text())
            return taken, np.load(path.with_suffix(".result.npy"))

    return run


def row(what: str, side: int, channels: int, found: tuple[float, float], differing: int) -> dict:
    """One line of the table; speeds in megapixels a second."""
    mine, theirs = found
    pixels = side * side * channels / 1e6
    return {
        "what": what,
        "side": side,
        "reference_seconds": theirs,
        "seconds": mine,
        "ratio": theirs / mine,
        "mpx_per_second": pixels / mine,
        "differing_values": differing,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `kernels.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    given = parser.parse_args(arguments)
    rows = []
    for side in given.sizes:
        maxima, interior = network_maps(mosaic(side))
        maps = [image[np.newaxis, ..., np.newaxis] for image in (maxima, interior)]
        reference = in_deepcell(
            "watershed", maxima=maxima, interior=interior, parameters=json.dumps(MESMER)
        )
        known: tuple[float, np.ndarray] | None = None

        def remembered(run: Callable = reference) -> tuple[float, np.ndarray]:
            nonlocal known
            known = known or run()
            return known

        for rule in ("local", "reference"):
            mine, theirs, labels, expected = against(
                lambda rule=rule, maps=maps: deep_watershed(maps, **MESMER, tie_rule=rule)[
                    0, ..., 0
                ],
                remembered,
                given.repeats,
            )
            differing = int((labels != canonical_labels(expected)).sum())
            rows.append(row(f"deep_watershed, {rule} ties", side, 1, (mine, theirs), differing))
        for radius in (2, 10) if side <= 2048 else ():
            footprint = ball_footprint(radius, 2)
            mine, theirs, found, expected = against(
                lambda maxima=maxima, footprint=footprint: h_maxima(maxima, 0.075, footprint),
                lambda maxima=maxima, footprint=footprint: _timed(
                    lambda: skimage.morphology.h_maxima(maxima, 0.075, footprint)
                ),
                given.repeats,
            )
            differing = int((found != expected.astype(bool)).sum())
            rows.append(row(f"h_maxima, disk({radius})", side, 1, (mine, theirs), differing))
        if side == 2048:
            image = np.stack([maxima, interior], axis=-1)
            image = (image * 20000 + 100).astype(np.uint16)
            mine, theirs, found, expected = against(
                lambda image=image: preprocess(image, Preprocessing(method="mesmer")),
                in_deepcell("preprocess", image=image),
                given.repeats,
            )
            differing = int((found != expected).sum())
            rows.append(row("mesmer_preprocess", side, 2, (mine, theirs), differing))
    for line in rows:
        print(
            f"{line['what']:32} {line['side']:6}²  {line['reference_seconds']:8.3f} s "
            f"{line['seconds']:8.4f} s  {line['ratio']:6.1f} ×  {line['mpx_per_second']:7.1f} Mpx/s"
            f"  {line['differing_values']} values differ"
        )
    given.output.mkdir(parents=True, exist_ok=True)
    machine = {
        "machine": platform.processor() or platform.machine(),
        "threads": thread_count(),
        "load_average": os.getloadavg(),
    }
    path = given.output / "kernels.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {path}; load average {machine['load_average'][0]:.1f}")
    return 0


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    raise SystemExit(main())
