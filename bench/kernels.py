"""Deep watershed, h-maxima and Mesmer's preprocessing against the reference, in one run.

`python -m bench.kernels [--sizes 1024 2048 4096] [--repeats 5] [--output outputs/bench]`

Ours is timed `--repeats` times before and after the reference, which runs once; the median counts.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.morphology

from bench.maps import mosaic, network_maps
from cellmill.compiled import thread_count
from cellmill.models.card import Preprocessing
from cellmill.preprocessing import preprocess
from cellmill.segmentation import (
    TieRule,
    ball_footprint,
    canonical_labels,
    deep_watershed,
    h_maxima,
)
from cellmill.segmentation.flooding import TIE_RULES
from launch.environments import environment
from launch.paths import ROOT

#: Mesmer's whole-cell defaults.
MESMER: dict[str, Any] = {
    "maxima_threshold": 0.075,
    "interior_threshold": 0.2,
    "interior_smooth": 2,
    "radius": 2,
    "small_objects_threshold": 15,
    "fill_holes_threshold": 15,
}
#: scikit-image takes minutes on larger images.
_LARGEST_FOR_SCIKIT_IMAGE = 2048


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds of the reference and of ours."""

    what: str
    side: int
    channels: int
    reference_seconds: float
    seconds: float
    differing_values: int

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.reference_seconds / self.seconds

    @property
    def speed(self) -> float:
        """Megapixels a second, those of every channel counted."""
        return self.side**2 * self.channels / 1e6 / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.what:32} {self.side:6}²  {self.reference_seconds:8.3f} s {self.seconds:8.4f} s "
            f"{self.ratio:6.1f} × {self.speed:7.1f} Mpx/s, {self.differing_values} values differ"
        )


def seconds(work: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Times of several calls, and the last one's result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return times, result


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Time of one call, and its result."""
    (taken,), result = seconds(work, 1)
    return taken, result


def compared(
    what: str,
    image: np.ndarray,
    ours: Callable[[], np.ndarray],
    theirs: Callable[[], tuple[float, np.ndarray]],
    repeats: int,
) -> Row:
    """Compare the median of ours, before and after, with theirs, which may be remembered."""
    ours()
    before, _ = seconds(ours, repeats)
    their_time, expected = theirs()
    after, found = seconds(ours, repeats)
    channels = image.shape[2] if image.ndim == 3 else 1
    differing = int((found != expected).sum())
    mine = statistics.median(before + after)
    return Row(what, image.shape[0], channels, their_time, mine, differing)


def in_deepcell(name: str, **arrays: Any) -> tuple[float, np.ndarray]:
    """Run one case in deepcell's environment; its own timing, and the result."""
    python = os.environ.get("CELLMILL_DEEPCELL_PYTHON") or str(environment("deepcell"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.npz"
        np.savez(path, **arrays)
        subprocess.run(
            [python, str(ROOT / "bench" / "deepcell_side.py"), folder],
            check=True,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
        )
        taken = float(path.with_suffix(".seconds").read_text())
        return taken, np.load(path.with_suffix(".result.npy"))


def watershed_rows(maxima: np.ndarray, interior: np.ndarray, repeats: int) -> Iterator[Row]:
    """Deep watershed by both tie rules, against deepcell-toolbox."""
    maps = [image[np.newaxis, ..., np.newaxis] for image in (maxima, interior)]

    @functools.cache
    def theirs() -> tuple[float, np.ndarray]:
        parameters = json.dumps(MESMER)
        taken, labels = in_deepcell(
            "watershed", maxima=maxima, interior=interior, parameters=parameters
        )
        return taken, canonical_labels(labels)

    def ours(rule: TieRule) -> np.ndarray:
        return deep_watershed(maps, **MESMER, tie_rule=rule)[0, ..., 0]

    for rule in TIE_RULES:
        yield compared(
            f"deep_watershed, {rule} ties", maxima, functools.partial(ours, rule), theirs, repeats
        )


def maxima_rows(maxima: np.ndarray, repeats: int) -> Iterator[Row]:
    """h-maxima, against scikit-image."""
    for radius in (2, 10):
        footprint = ball_footprint(radius, 2)
        ours = functools.partial(h_maxima, maxima, 0.075, footprint)
        theirs = functools.partial(skimage.morphology.h_maxima, maxima, 0.075, footprint)
        yield compared(
            f"h_maxima, disk({radius})", maxima, ours, functools.partial(timed, theirs), repeats
        )


def preprocess_row(image: np.ndarray, repeats: int) -> Row:
    """Mesmer's preprocessing, against deepcell."""
    ours = functools.partial(preprocess, image, Preprocessing(method="mesmer"))
    theirs = functools.partial(in_deepcell, "preprocess", image=image)
    return compared("mesmer_preprocess", image, ours, theirs, repeats)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `kernels.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    given = parser.parse_args(arguments)
    rows: list[Row] = []

    def add(row: Row) -> None:
        print(row, flush=True)
        rows.append(row)

    for side in given.sizes:
        maxima, interior = network_maps(mosaic(side))
        for row in watershed_rows(maxima, interior, given.repeats):
            add(row)
        if side <= _LARGEST_FOR_SCIKIT_IMAGE:
            for row in maxima_rows(maxima, given.repeats):
                add(row)
            image = np.stack([maxima, interior], axis=-1)
            add(preprocess_row((image * 20000 + 100).astype(np.uint16), given.repeats))
    given.output.mkdir(parents=True, exist_ok=True)
    machine = {
        "machine": platform.processor() or platform.machine(),
        "threads": thread_count(),
        "load_average": os.getloadavg()[0],
    }
    table = [{**asdict(row), "ratio": row.ratio, "mpx_per_second": row.speed} for row in rows]
    path = given.output / "kernels.json"
    path.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")
    print(f"written to {path}; load average {machine['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
