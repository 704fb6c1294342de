"""The last state of a training, kept so that one that was killed goes on from there."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.files import open_staged
from cellmill.terminal import say

_LAST = "last.npz"


@dataclass(frozen=True)
class Checkpoints:
    """A folder's checkpoint of one training.

    Args:
        folder: where it lies.
        work: what the training's result depends on, as `cellmill.arrays.resume.key_of` says it:
            what another training left there does not count.
    """

    folder: Path
    work: str

    def keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write all that a restart needs, in place of what was written before."""
        with open_staged(self.folder / _LAST) as file:
            every: dict[str, Any] = {**arrays, "work": np.array(self.work)}
            np.savez(file, **every)

    def last(self) -> dict[str, np.ndarray]:
        """What was kept last; empty where nothing was, or, which is said, of other work."""
        path = self.folder / _LAST
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as kept:
                if str(kept["work"]) == self.work:
                    return {name: kept[name] for name in kept.files}
            why = "of other parameters or data"
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            why = "damaged"
        say(f"checkpoint '{path}' is {why}: the training begins anew", to=sys.stderr)
        return {}
