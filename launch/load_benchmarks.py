"""Loads benchmarks into BigQuery: `python -m launch.load_benchmarks --records … --dataset …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cellmill.benchmark.tables import merged, read_table
from cellmill.errors import CellmillError
from cellmill.terminal import say
from launch.cloud.bigquery import Destination, load_rows
from launch.runs.benchmarks import tables_of
from launch.runs.command_line import SettingsParser

_SETTINGS = {
    "records": "tables, or folders of runs, with spaces between",
    "dataset": "project.dataset, or project.dataset.table",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Load tables; return 0, or 2 with one line on stderr."""
    parser = SettingsParser("launch.load_benchmarks")
    parser.add_settings(_SETTINGS)
    try:
        given, _ = parser.given(argv)
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
