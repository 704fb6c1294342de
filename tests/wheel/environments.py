"""The wheel as built, in environments that hold it and what it declares, and nothing else.

One environment has the base installation, one more each extra. They are made when a test first asks
for one, once for all the workers of a test run. Versions are those of `requirements-dev.lock`, the
ones that are tested, so that uv's cache serves nearly all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from cellmill.compute.folders import locked
from launch import ROOT

_READY = ".ready"
#: Locks beside the developers', of extras whose packages that one does not have.
_LOCKS = {"napari": ROOT / "tests" / "napari_cellmill" / "requirements.lock"}


def start(*arguments, **options) -> subprocess.CompletedProcess[str]:
    """Run a command that finds no package but its own environment's."""
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(argument) for argument in arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=variables, **options
    )


def run(*arguments, **options) -> str:
    """Run a command, as `start` does, that must succeed; return what it prints."""
    done = start(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Environments:
    """The environments of one test run, in a folder that its workers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, extra: str = "") -> Path:
        """Give the environment with an extra, `""` for none; it is made if it is not there yet."""
        environment = self.folder / (extra or "base")
        with locked(self.folder / f"{environment.name}.lock"):
            if not (environment / _READY).exists():
                wheel = self.wheel()
                run(find_uv_bin(), "venv", "-q", "--python", sys.executable, environment)
                self._install(environment, wheel, extra)
                if not extra:
                    # Else every worker compiles for itself what most examples use.
                    run(environment / "bin" / "python", ROOT / "images" / "warm.py")
                (environment / _READY).touch()
        return environment

    def wheel(self) -> Path:
        """Give the wheel of the tree, built once, from the source distribution."""
        folder = self.folder / "dist"
        with locked(self.folder / "wheel.lock"):
            if not folder.exists():
                made = self.folder / "unfinished"
                build = ("-m", "build", "--no-isolation", "--outdir", made, ROOT)
                run(sys.executable, *build, cwd=self.folder)
                made.rename(folder)
        (wheel,) = folder.glob("*.whl")
        return wheel

    def _install(self, environment: Path, wheel: Path, extra: str) -> None:
        run(
            *(find_uv_bin(), "pip", "install", "-q", "--python", environment / "bin" / "python"),
            *("-c", _LOCKS.get(extra, ROOT / "requirements-dev.lock")),
            f"{wheel}[{extra}]" if extra else wheel,
        )
