"""Deep watershed, h-maxima and Mesmer's preprocessing against the reference, in one run.

`python -m bench.kernels [--sizes 1024 2048 4096] [--large 16384] [--slide 9777x14239] [--repeats 5]
[--output outputs/bench]`

Ours is timed `--repeats` times before and after the reference, which runs once; the median counts.
The large maps are those of 2048² laid side by side: the same cells, so that only size differs.
What is too large for the reference is timed alone (the median of three), and says so.
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
import SimpleITK
import skimage.morphology

from bench.maps import mosaic, network_maps
from cellmill.compute.threads import thread_count
from cellmill.labels.numbering import canonical_labels
from cellmill.models.card import Preprocessing
from cellmill.morphology.flooding import TIE_RULES, TieRule
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint
from cellmill.preprocessing import preprocess
from cellmill.segmentation.deep_watershed import deep_watershed
from launch import ROOT
from launch.images.environments import environment

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
    shape: tuple[int, int]
    channels: int
    reference_seconds: float | None
    seconds: float
    differing_values: int | None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is; None without a reference."""
        return self.reference_seconds / self.seconds if self.reference_seconds else None

    @property
    def speed(self) -> float:
        """Megapixels a second, those of every channel counted."""
        return self.shape[0] * self.shape[1] * self.channels / 1e6 / self.seconds

    def __str__(self) -> str:
        theirs = "     alone          "
        if self.reference_seconds:
            theirs = f"{self.reference_seconds:8.3f} s {self.ratio:6.1f} × "
        differing = "" if self.differing_values is None else f", {self.differing_values} differ"
        return (
            f"{self.what:32} {self.shape[0]:6} × {self.shape[1]:6} {theirs} {self.seconds:8.4f} s "
            f"{self.speed:7.1f} Mpx/s{differing}"
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
    return Row(what, image.shape[:2], channels, their_time, mine, differing)


def alone(what: str, image: np.ndarray, ours: Callable[[], np.ndarray]) -> Row:
    """Ours without a reference: a first call, then the median of three."""
    ours()
    times, _ = seconds(ours, 3)
    return Row(what, image.shape[:2], 1, None, statistics.median(times), None)


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


def blank_noise(shape: tuple[int, int], sigma: float, seed: int = 0) -> np.ndarray:
    """A map of nothing but noise, not negative, float32."""
    return np.abs(np.random.default_rng(seed).normal(0, sigma, shape)).astype(np.float32)


def by_simple_itk(image: np.ndarray, h: float) -> np.ndarray:
    """h-maxima over 3 × 3 pixels by SimpleITK's reconstruction, lowered as scikit-image does."""
    height = np.float32(h)
    lowered = (image - height) - 2 * np.finfo(image.dtype).resolution * np.abs(image)
    level = SimpleITK.ReconstructionByDilation(
        SimpleITK.GetImageFromArray(lowered), SimpleITK.GetImageFromArray(image), True
    )
    return image - SimpleITK.GetArrayFromImage(level) >= height


def simple_itk_row(what: str, image: np.ndarray, repeats: int) -> Row:
    """h-maxima over 3 × 3 pixels, against SimpleITK's reconstruction."""
    ours = functools.partial(h_maxima, image, 0.075)
    theirs = functools.partial(timed, functools.partial(by_simple_itk, image, 0.075))
    return compared(f"h_maxima, 3 × 3, SimpleITK{what}", image, ours, theirs, repeats)


def slide_rows(maps: np.ndarray, shape: tuple[int, int]) -> Iterator[Row]:
    """h-maxima of an image of a slide's size: cells, blank noise, noise just above h."""
    cells = laid_out(maps, shape)
    yield simple_itk_row("", cells, 1)
    for name, image in (
        ("", cells),
        (", blank noise", blank_noise(shape, 0.01)),
        (", noise near h", blank_noise(shape, 0.02)),
    ):
        for radius in (2, 10):
            ours = functools.partial(h_maxima, image, 0.075, ball_footprint(radius, 2))
            yield alone(f"h_maxima, disk({radius}){name}", image, ours)


def growth_rows(maxima: np.ndarray, interior: np.ndarray, side: int) -> Iterator[Row]:
    """Deep watershed of maps, and of the same maps laid side by side: as fast a pixel?"""
    for shape in (maxima.shape, (side, side)):
        maps = [laid_out(image, shape)[np.newaxis, ..., np.newaxis] for image in (maxima, interior)]
        yield alone(
            "deep_watershed, growth", maps[0][0], functools.partial(deep_watershed, maps, **MESMER)
        )


def laid_out(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image repeated side by side until it has a shape."""
    times = [-(-wanted // side) for wanted, side in zip(shape, image.shape, strict=True)]
    return np.ascontiguousarray(np.tile(image, times)[: shape[0], : shape[1]])


def preprocess_row(image: np.ndarray, repeats: int) -> Row:
    """Mesmer's preprocessing, against deepcell."""
    ours = functools.partial(preprocess, image, Preprocessing(method="mesmer"))
    theirs = functools.partial(in_deepcell, "preprocess", image=image)
    return compared("mesmer_preprocess", image, ours, theirs, repeats)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `kernels.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--large", type=int, default=16384, help="side; 0 leaves it out")
    parser.add_argument("--slide", default="9777x14239", help="Y x X; empty leaves it out")
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
            add(simple_itk_row("", maxima, given.repeats))
            image = np.stack([maxima, interior], axis=-1)
            add(preprocess_row((image * 20000 + 100).astype(np.uint16), given.repeats))
    if given.large or given.slide:
        maxima, interior = network_maps(mosaic(min(2048, max(given.sizes))))
    if given.large:
        for row in growth_rows(maxima, interior, given.large):
            add(row)
        growth = rows[-2].speed / rows[-1].speed
        print(f"deep_watershed: time a pixel grows {growth:.2f} ×", flush=True)
    if given.slide:
        high, wide = (int(side) for side in given.slide.split("x"))
        for row in slide_rows(maxima, (high, wide)):
            add(row)
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
