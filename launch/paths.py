"""Where things are: the clone, the environments, the caches."""

from __future__ import annotations

import os
from pathlib import Path

#: The clone's root.
ROOT = Path(__file__).resolve().parent.parent


def cache_folder() -> Path:
    """Return the folder for what can be made again: environments, samples, models."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cellmill"
