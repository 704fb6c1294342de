"""Where the conformance model is kept, and how it gets there.

`python -m tests.conformance.conformance_model` (what `make conformance-model` runs) prints its
folder. It is made once per state of the scripts that make it and of deepcell's lock, under
`$XDG_CACHE_HOME/cellmill/conformance/` (default `~/.cache`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import CellmillError
from cellmill.models.card import ModelCard, Weights, known_cards
from launch import ROOT
from launch.images.environments import environment

HERE = Path(__file__).resolve().parent
MADE_FROM = (
    HERE / "make_model.py",
    HERE / "tissue.py",
    ROOT / "images" / "deepcell" / "requirements.lock",
)


def card(training: dict[str, Any]) -> ModelCard:
    """Give the model's card: Mesmer's own as cellmill ships it, which so is tested too."""
    return replace(
        known_cards()["Mesmer"],
        name="conformance",
        version="1",
        description="PanopticNet made by deepcell for tests; it has seen synthetic tissue only.",
        licence="",
        citation="",
        weights=Weights(),
        training={"data": "synthetic tissue", **training},
        accuracy=training["accuracy"],
    )


def run(python: Path, *arguments: str | Path) -> None:
    """Run a program of ours in another environment, in which cellmill is found.

    Raises:
        CellmillError: it failed; the message ends with its last lines.
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, stdout=2, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-15:])
        raise CellmillError(f"{' '.join(command)} ended with {done.returncode}:\n{last}")


def conformance_model(python: Path) -> Path:
    """Return the folder of the model, which is made (in minutes) if it is not there.

    Args:
        python: deepcell's interpreter.

    Raises:
        CellmillError: it could not be made, or does not find cells.
    """
    folder = cache_folder("conformance") / _digest(*(path.read_bytes() for path in MADE_FROM))
    network = folder / "network"
    with locked(folder / "lock"):
        if not network.is_dir():
            print("making the conformance model (once, minutes) …", file=sys.stderr, flush=True)
            draft = folder / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            run(python, HERE / "make_model.py", draft)
            draft.rename(network)
        # The card may change where the network has not: each card has a folder of its own.
        made = card(json.loads((network / "training.json").read_text()))
        model = folder / f"model-{_digest(json.dumps(made.to_dict()).encode())}"
        shutil.rmtree(model, ignore_errors=True)
        # Files of its own: a model with links out of its folder is refused.
        model.mkdir()
        for part in ("saved_model.pb", "keras_metadata.pb"):
            os.link(network / part, model / part)
        shutil.copytree(network / "variables", model / "variables", copy_function=os.link)
        made.save(model)
    return model


def _digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()[:16]


if __name__ == "__main__":
    try:
        print(conformance_model(environment("deepcell")))
    except CellmillError as error:
        sys.exit(str(error))
