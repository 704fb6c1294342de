"""Exports of synthetic slides with up to a million cells: seconds and memory.

`python -m bench.exports [--sides 8576 27120] [--formats geojson] [--memory-mib 1024]`

A slide has a cell, with its nucleus, in each 27 × 27 pixels: 27,120 pixels a side hold a million.
Label images lie in Zarr, measurements of two channels in Parquet, as runs leave them. Then the
stage `export_results` runs in a process of its own; its memory is all that this held, interpreter
and libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.metrics import image, labels, nuclei
from bench.slide import aside, run
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import thread_count
from cellmill.exports.programs import PROGRAMS
from cellmill.measurement import measure_compartments
from cellmill.measurement.files import write_parquet
from cellmill.stages.shared.slides.plan import UNIT
from launch import ROOT

_CHANNELS = ("DAPI", "CD3")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        form: what was written.
        cells: how many there are, each with a nucleus.
        seconds: of the whole process.
        mib: of the file.
        peak_mib: the most memory that the process held.
    """

    form: str
    cells: int
    seconds: float
    mib: float
    peak_mib: float

    def __str__(self) -> str:
        return (
            f"{self.form:9} {self.cells:8} cells {self.seconds:7.1f} s "
            f"{self.mib:7.0f} MiB written, {self.peak_mib:6.0f} MiB of memory"
        )


def prepare(folder: Path, side: int) -> int:
    """Write a slide's labels, its measurements and a blank image; return how many cells it has."""
    shown: dict[str, Windowed] = {
        "whole_cell": labels(side, predicted=False),
        "nuclear": nuclei(side),
    }
    layout = dict.fromkeys(shown, ((side, side), np.int32, "YX"))
    with (
        BatchWriter(folder / "labels") as out,
        out.create("slide", layout, mpp=(0.5, 0.5), container="zarr") as made,
    ):
        for kind, array in shown.items():
            for top in range(0, side, UNIT):
                made[kind][top : min(top + UNIT, side)] = array[top : min(top + UNIT, side)]
    blank = {"image": ((side, side, len(_CHANNELS)), np.uint8, "YXC")}
    with (
        BatchWriter(folder / "images") as out,
        out.create("slide", blank, mpp=(0.5, 0.5), channels=_CHANNELS, container="zarr") as made,
    ):
        for top in range(0, side, UNIT):
            height = min(UNIT, side - top)
            made["image"][top : top + height] = np.zeros((height, side, len(_CHANNELS)), np.uint8)
    with BatchWriter(folder / "measurements") as out:
        pixels = image(side, len(_CHANNELS))
        table = measure_compartments(shown, pixels, mpp=(0.5, 0.5), channel_names=_CHANNELS)
        with out.open("slide", "parquet") as file:
            write_parquet(table, file)
    return int(table.num_rows) // len(shown)


def measured(folder: Path, form: str, cells: int, memory_mib: int) -> Row:
    """Run the stage once."""
    shutil.rmtree(folder / "exports", ignore_errors=True)
    places = {name: folder / name for name in ("images", "labels", "measurements", "exports")}
    seconds, peak = run("export_results", folder, formats=form, memory_mib=memory_mib, **places)
    written = list((folder / "exports").rglob(f"slide.{PROGRAMS[form].suffix}*"))
    files = [p for top in written for p in (top, *top.rglob("*")) if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    return Row(form, cells, seconds, size / 2**20, peak / 2**20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write `exports.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8576, 27120])
    parser.add_argument("--formats", nargs="+", choices=[*PROGRAMS], default=["geojson"])
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "bench")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for side in given.sides:
        with tempfile.TemporaryDirectory(dir=given.output) as folder:
            cells = aside(prepare, Path(folder), side)
            for form in given.formats:
                rows.append(measured(Path(folder), form, cells, given.memory_mib))
                print(rows[-1], flush=True)
    machine = {
        "machine": platform.processor() or platform.machine(),
        "threads": thread_count(),
        "memory_mib": given.memory_mib,
        "load_average": os.getloadavg()[0],
    }
    path = given.output / "exports.json"
    path.write_text(
        json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
    )
    print(f"written to {path}; load average {machine['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
