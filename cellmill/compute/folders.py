"""The folder for what can be made or fetched again, shared by processes that may race."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of thing, under `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cellmill" / kind


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file within the block; other processes and threads wait for it.

    The lock goes with the process that holds it, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
