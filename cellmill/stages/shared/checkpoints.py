"""Where a training keeps its checkpoints."""

from __future__ import annotations

from pathlib import Path

from cellmill.errors import BadInput
from cellmill.io.uris import local_path


def checkpoint_folder(given: str) -> Path | None:
    """The folder that a user names, made; None where none is named.

    Raises:
        BadInput: it is no folder of this machine or of a bucket that is mounted.
    """
    if not given:
        return None
    folder = local_path(given)
    if folder is None:
        expected = "a folder of this machine, or in a bucket that is mounted"
        raise BadInput("checkpoints", expected=expected, found=f"'{given}'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected = "a folder that can be made"
        raise BadInput("checkpoints", expected=expected, found=f"{error}") from error
    return folder
