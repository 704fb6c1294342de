"""Serves a network on this machine, without a container: `make serve MODEL=…`.

What runs is the server's image's environment; `python -m serving --help` lists all its settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cellmill.errors import CellmillError
from cellmill.terminal import say
from launch import ROOT
from launch.images.environments import environment
from launch.runs.command_line import SettingsParser
from launch.runs.models import model_of

#: Settings that are the server's flags of the same names.
SETTINGS = {
    "name": "what clients call the model; its card's name by default",
    "host": "address to listen at; this machine's own by default",
    "port": "port to listen at; 8080 by default, 0 takes a free one",
    "endpoint": "shared or dedicated: Vertex AI's limits hold",
    "sources": "folders and prefixes of URIs that clients may read, with spaces between",
    "destinations": "folders and prefixes of URIs that clients may have written",
    "compartment": "kind of object; the card's default by default",
    "engine": "what runs the network",
    "device": "where it runs",
    "precision": "of the network's products",
    "batch_size": "tiles that go to the network together",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Become the server, which serves until it is told to end; or return 2 with one line."""
    parser = SettingsParser("launch.serve")
    parser.add_settings({"model": "name, path or URI of a model", **SETTINGS})
    try:
        given, _ = parser.given(argv)
        command = [str(environment("serving")), "-m", "serving"]
        command += ["--model", model_of(given["model"])]
        for key in SETTINGS:
            value = given[key] or ("127.0.0.1" if key == "host" else "")
            command += [f"--{key.replace('_', '-')}", value] if value else []
        # The server takes this process's place: who ends one ends the other.
        os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(ROOT)})
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
