"""Puts benchmarks together: `python -m launch.merge_benchmarks --records 'run other/run'`.

Tables of several runs and machines become one, with its figures and guidelines; with a baseline
regressions are named. The stage `report_benchmark` does it, here in this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cellmill.contract.cli import main as run_stage
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from launch import ROOT
from launch.runs.benchmarks import tables_of
from launch.runs.command_line import SettingsParser
from launch.runs.outcome import outcome
from launch.runs.tables import outputs_of

_SETTINGS = {
    "records": "tables, or folders of runs, with spaces between",
    "baseline": "a stored table, or a run's folder, to compare with",
    "prices": "US dollars an hour by a machine's name, a JSON object",
    "output": "the folder to write; a new one under outputs/ by default",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Merge benchmarks; return 0, or the exit code of what failed, with one line on stderr."""
    parser = SettingsParser("launch.merge_benchmarks")
    parser.add_settings(_SETTINGS)
    try:
        given, _ = parser.given(argv)
        command = ["report_benchmark", "--tables", *map(str, tables_of(given["records"]))]
        if given["baseline"]:
            (baseline,) = _one(tables_of(given["baseline"]))
            command += ["--baseline", str(baseline)]
        if given["prices"]:
            command += ["--prices", given["prices"]]
        folder = _folder(given["output"])
        for row in outputs_of("benchmark"):
            command += [f"--{row.output}", str(folder / row.name)]
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    if code := run_stage(command):
        return code
    for line in outcome(folder):
        say(line)
    say()
    say(f"{os.path.relpath(folder)}/benchmark.html")
    return 0


def _folder(output: str) -> Path:
    """The folder to write; it holds nothing yet.

    Raises:
        BadInput: it does.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(output).absolute() if output else ROOT / "outputs" / f"{stamp}-benchmarks"
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise BadInput("OUTPUT", expected="a new or an empty folder", found=f"'{output}'")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _one(tables: Sequence[Path]) -> Sequence[Path]:
    if len(tables) != 1:
        raise BadInput("BASELINE", expected="one table", found=f"{len(tables)}")
    return tables


if __name__ == "__main__":
    sys.exit(main())
