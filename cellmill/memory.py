"""Memory that is free goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """Give free memory back, so that the peaks of one step after another do not add up.

    glibc keeps what threads have freed for each of them, and Arrow keeps some of its own.
    """
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    if sys.platform == "linux":
        # Other C libraries than glibc have no such function.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
