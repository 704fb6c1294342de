"""Commands of the command line that are no stages, imported when one is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        summary: one line for the list of commands.
        module: that holds it, as `main`, which takes arguments and returns an exit code.
    """

    summary: str
    module: str

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run it; errors are raised."""
        run: Callable[[Sequence[str]], int] = importlib.import_module(self.module).main
        return run(arguments)


#: A line a command.
COMMANDS: Mapping[str, Command] = {
    "cellpose": Command(
        "Segment a folder of images by Cellpose's command and flags.",
        "cellmill.commands.cellpose.command",
    ),
    "neuroglancer": Command(
        "Serve a transferred volume and its source to Neuroglancer, and print the link.",
        "cellmill.commands.neuroglancer",
    ),
    "view": Command("Open a run in napari: image, labels, measurements.", "cellmill.commands.view"),
}
