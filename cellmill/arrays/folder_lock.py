"""A folder that one process at a time works in, by a lock that leaves no file behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from cellmill.errors import BadInput

_POLL = 0.1


class InUse(BadInput):
    """Another process works in a folder; nothing in it is to be touched."""


def lock_folder(folder: Path, patience: float = 0.0) -> int:
    """Lock a folder for this process and those that it hands the lock on to.

    The lock ends when all of them have closed it, or have ended, however that was.

    Args:
        folder: it is there.
        patience: seconds to wait for another process.

    Returns:
        The open lock, for `unlock_folder`; -1 where the file system has no locks.

    Raises:
        BlockingIOError: another process has it.
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(handle)
                raise
            time.sleep(_POLL)
        except OSError:
            os.close(handle)
            return -1
        else:
            return handle


def unlock_folder(lock: int) -> None:
    """Give a lock back; of what `lock_folder` gave where there are none, nothing is done."""
    if lock >= 0:
        with contextlib.suppress(OSError):
            os.close(lock)
