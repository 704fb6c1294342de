"""Measurements and scores of synthetic slides with up to a million objects: seconds and memory.

`python -m bench.metrics [--sides 4096 27120] [--volumes 768] [--channels 2] [--memory-mib 1024]`

Slides are made window by window as they are read: jittered discs, one in each 27 × 27 pixels, so
that 27,120 pixels a side hold a million of them; the prediction is the truth two pixels aside, a
part of it merged and a part missing. Volumes are 64 planes, twice as far apart as pixels, of balls
in the discs' places, one in each 14 planes; they are held in memory. Each row runs in a process of
its own, whose memory is that above what it takes after a small run, and volumes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.memory import peak_rss
from cellmill.compute.threads import thread_count
from cellmill.measurement import measure_compartments, measure_labels
from cellmill.metrics import evaluate
from launch import ROOT

_PITCH = 27
_PLANES, _DEEP = 64, 14
_SMALL = 600


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: `metrics`, `measure` or `volume`, which is measured.
        side: of the slide, or of the volume's planes, pixels.
        channels: of the image measured.
        objects: in the truth, or measured.
        seconds: of the work, making the windows included.
        making_seconds: what that took, all threads added up.
        peak_mib: memory above that after a small run.
    """

    what: str
    side: int
    channels: int
    objects: int
    seconds: float
    making_seconds: float
    peak_mib: float

    @property
    def speed(self) -> float:
        """Megapixels a second, those of every channel and plane counted."""
        planes = _PLANES if self.what == "volume" else 1
        return planes * self.side**2 * max(self.channels, 1) / 1e6 / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.what:8} {self.side:6}² × {max(self.channels, 1)}  {self.objects:8} objects "
            f"{self.seconds:7.1f} s {self.speed:7.1f} Mpx/s {self.peak_mib:7.0f} MiB"
        )


class Made:
    """An array that is made as it is read."""

    _lock = threading.Lock()
    seconds = 0.0

    def __init__(
        self, shape: tuple[int, ...], dtype: type, make: Callable[[Any, int, int, int], None]
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._make = make

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Make a window of whole rows, of one channel where there are several."""
        start = time.perf_counter()
        parts = window if isinstance(window, tuple) else (window,)
        top, bottom, _ = parts[0].indices(self.shape[0])
        out = np.empty((bottom - top, self.shape[1]), self.dtype)
        self._make(out, top, self.shape[1], parts[2] if len(parts) > 2 else 0)
        with self._lock:
            Made.seconds += time.perf_counter() - start
        return out


def labels(side: int, *, predicted: bool) -> Made:
    """Discs: the truth, or what a segmentation makes of it."""
    return Made((side, side), np.int32, _make_prediction if predicted else _make_truth)


def nuclei(side: int) -> Made:
    """The middle of each disc of the truth."""
    return Made((side, side), np.int32, _make_nuclei)


def image(side: int, channels: int) -> Made:
    """Noise in 16 bits, `(side, side, channels)`."""
    return Made((side, side, channels), np.uint16, _make_noise)


@kernel
def _mixed(number):  # type: ignore[no-untyped-def]
    value = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    return value ^ (value >> np.uint64(32))


@kernel
def _disc(y, x, across, less=0, beside=0):  # type: ignore[no-untyped-def]
    """Label of the disc at a pixel, or 0; its radius may be less than it is, or that of a ball."""
    row, column = y // _PITCH, x // _PITCH
    cell = row * across + column
    chance = _mixed(cell + 1)
    middle_y = 12 + np.int64(chance & np.uint64(3))
    middle_x = 12 + np.int64((chance >> np.uint64(2)) & np.uint64(3))
    radius = 6 + np.int64((chance >> np.uint64(4)) & np.uint64(3)) - less
    away_y, away_x = y - row * _PITCH - middle_y, x - column * _PITCH - middle_x
    return cell + 1 if away_y**2 + away_x**2 + beside**2 <= radius**2 else 0


@kernel
def _make_truth(out, top, width, channel):  # type: ignore[no-untyped-def]
    across = -(-width // _PITCH)
    for y in range(out.shape[0]):
        for x in range(width):
            out[y, x] = _disc(top + y, x, across)


@kernel
def _make_nuclei(out, top, width, channel):  # type: ignore[no-untyped-def]
    across = -(-width // _PITCH)
    for y in range(out.shape[0]):
        for x in range(width):
            out[y, x] = _disc(top + y, x, across, 3)


@kernel
def _make_prediction(out, top, width, channel):  # type: ignore[no-untyped-def]
    across = -(-width // _PITCH)
    for y in range(out.shape[0]):
        for x in range(width):
            label = _disc(top + y, max(x - 2, 0), across)
            chance = _mixed(label + 77) & np.uint64(63) if label else np.uint64(63)
            if chance == 0:
                label = 0
            elif chance == 1 and label > 1:
                label -= 1
            out[y, x] = label


@kernel
def _make_balls(out):  # type: ignore[no-untyped-def]
    across = -(-out.shape[2] // _PITCH)
    in_layer = -(-out.shape[1] // _PITCH) * across
    for z in range(out.shape[0]):
        layer, beside = z // _DEEP, 2 * (z % _DEEP - _DEEP // 2)
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                label = _disc(y, x, across, 0, beside)
                out[z, y, x] = label + layer * in_layer if label else 0


@kernel
def _make_noise(out, top, width, channel):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(width):
            out[y, x] = _mixed(((top + y) * width + x) * 8 + channel) & np.uint64(0xFFFF)


def work(what: str, side: int, channels: int, memory_mib: int) -> Callable[[], int]:
    """What is to be done; it gives how many objects there were."""
    if what == "volume":
        balls, noise = volume(side, channels)
        return lambda: measure_labels(balls, noise, mpp=(1.0, 0.5, 0.5)).num_rows
    if what == "metrics":
        both = labels(side, predicted=False), labels(side, predicted=True)
        return lambda: int(evaluate(*both, memory_mib=memory_mib)["n_truth"])
    shown = {"whole_cell": labels(side, predicted=False)}
    pixels = image(side, channels)
    return lambda: measure_compartments(shown, pixels, memory_mib=memory_mib).num_rows


def volume(side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Balls, `(64, side, side)`, and noise in 16 bits, with channels behind."""
    balls = np.empty((_PLANES, side, side), np.int32)
    _make_balls(balls)
    noise = np.random.default_rng(0).integers(0, 1 << 16, (*balls.shape, channels), np.uint16)
    return balls, noise


def measured(what: str, side: int, channels: int, memory_mib: int) -> Row:
    """Do the work in this process, once small and once as asked."""
    work(what, _SMALL if what != "volume" else 64, channels, memory_mib)()
    asked = work(what, side, channels, memory_mib)
    # From here on the peak is counted anew, from what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_rss()
    Made.seconds, start = 0.0, time.perf_counter()
    objects = asked()
    seconds = time.perf_counter() - start
    return Row(
        what,
        side,
        0 if what == "metrics" else channels,
        objects,
        seconds,
        Made.seconds,
        (peak_rss() - before) / 2**20,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `metrics.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[4096, 27120])
    parser.add_argument("--volumes", type=int, nargs="*", default=[768], help="sides of planes")
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    parser.add_argument("--only", choices=["metrics", "measure", "volume"], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.only:
        row = measured(given.only, given.sides[0], given.channels, given.memory_mib)
        print(json.dumps(asdict(row)))
        return 0
    rows = []
    asked = [(what, side) for side in given.sides for what in ("metrics", "measure")]
    for what, side in asked + [("volume", side) for side in given.volumes]:
        command = [sys.executable, "-m", "bench.metrics", "--only", what, "--sides", str(side)]
        command += ["--channels", str(given.channels), "--memory-mib", str(given.memory_mib)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        rows.append(Row(**json.loads(done.stdout)))
        print(rows[-1], flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    machine = {
        "machine": platform.processor() or platform.machine(),
        "threads": thread_count(),
        "memory_mib": given.memory_mib,
        "load_average": os.getloadavg()[0],
    }
    table = [{**asdict(row), "mpx_per_second": row.speed} for row in rows]
    path = given.output / "metrics.json"
    path.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")
    print(f"written to {path}; load average {machine['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
