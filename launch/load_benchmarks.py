"""Loads benchmarks into BigQuery: `python -m launch.load_benchmarks --records … --dataset …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cellmill.benchmark.tables import merged, read_table
from cellmill.contract.cli import OneLineParser
from cellmill.errors import CellmillError
from cellmill.terminal import say
from launch.cloud.bigquery import Destination, load_rows
from launch.runs.benchmarks import tables_of

_SETTINGS = {
    "records": "tables, or folders of runs, with spaces between",
    "dataset": "project.dataset, or project.dataset.table",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Load tables; return 0, or 2 with one line on stderr."""
    parser = OneLineParser(prog="launch.load_benchmarks", allow_abbrev=False)
    parser.add_argument("--make", action="store_true", help="take settings from the environment")
    for key, text in _SETTINGS.items():
        parser.add_argument(f"--{key}", default="", help=text)
    try:
        given = vars(parser.parse_args(argv))
        if given.pop("make"):
            given = {k: v or os.environ.get(k.upper(), "") for k, v in given.items()}
        destination = Destination.of(given["dataset"])
        tables: list[Path] = tables_of(given["records"])
        loaded, known = load_rows(merged([read_table(path) for path in tables]), destination)
        note = f"; {known} conditions were there already" if known else ""
        say(f"{loaded} rows loaded into {destination}{note}")
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
