"""Brings the outputs of a run in a cloud here: `python -m launch.fetch RUN_FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cellmill.errors import CellmillError
from cellmill.terminal import say
from launch import ROOT
from launch.cloud.running import resume
from launch.runs.collecting import link_latest


def main(argv: Sequence[str] | None = None) -> int:
    """Follow a run that was submitted without WAIT=1 to its end, and fetch its outputs."""
    parser = argparse.ArgumentParser(prog="python -m launch.fetch", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the run's folder")
    folder = parser.parse_args(argv).folder.absolute()
    try:
        images = resume(folder)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    if folder.parent == ROOT / "outputs":
        link_latest(folder)
    say(f"fetched {len(images)} image(s) to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
