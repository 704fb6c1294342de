"""Programs that compute by torch, which the developers' environment has not."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launch import ROOT

WITHOUT_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is not None, reason="torch is installed"
)


def said_by(program: Path, python: Path) -> Any:
    """Run a program of ours where torch is, as in Cellpose's environment; the JSON that it prints.

    GPUs are hidden: what is tried is that there is none.
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.run(
        [python, program], env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(said)
