"""`cellmill view outputs/latest`: a run, an image of it, or an OME-Zarr, in napari."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cellmill import extras
from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput

#: What napari calls this package's plugin.
PLUGIN = "cellmill"


def main(arguments: Sequence[str]) -> int:
    """Open paths in napari and stay until its window is closed; return 0.

    Raises:
        BadInput: nothing is there, it cannot be read, or napari is not installed.
    """
    parser = OneLineParser(prog="cellmill view", description=__doc__)
    parser.add_argument(
        "path",
        nargs="*",
        default=["outputs/latest"],
        help="folder of a run, of one of its images, or an OME-Zarr (default: outputs/latest)",
    )
    given = parser.parse_args(arguments)
    paths = [Path(path).resolve() for path in given.path]
    for path, named in zip(paths, given.path, strict=True):
        if not path.exists():
            raise BadInput(f"'{named}'", expected="a run's folder, or an OME-Zarr", found="none")
    napari = extras.load("napari", "cellmill view")
    viewer = napari.Viewer(title="cellmill")
    for path in paths:
        viewer.open(str(path), plugin=PLUGIN)
    viewer.scale_bar.visible = True
    napari.run()
    return 0
