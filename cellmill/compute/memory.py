"""A process' memory: the most that it held, giving back what is free, and memory to work in."""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
import sys
import threading
from pathlib import Path

import numpy as np


def peak_rss() -> int:
    """Return the most memory that this process held, in bytes.

    `getrusage` says no less than what the parent held when it started this process: a stage started
    by a large one would take the blame for it. Linux tells it of the process alone.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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


class GivingBack:
    """Gives free memory back each time that so many bytes have gone through; for any threads.

    Args:
        every: bytes.
    """

    def __init__(self, every: int) -> None:
        self._every, self._passed, self._lock = every, 0, threading.Lock()

    def passed(self, count: int) -> None:
        """Count bytes that went through."""
        with self._lock:
            self._passed += count
            due = self._passed >= self._every
            if due:
                self._passed = 0
        if due:
            give_back()


class Scratch(threading.local):
    """Memory that a thread works in, kept from call to call: fresh memory costs as much as work."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def arrays(self, shape: tuple[int, ...], *dtypes: np.dtype) -> list[np.ndarray]:
        """Give uninitialised arrays of one shape; the next call gives the same memory again."""
        count = math.prod(shape)
        ends = np.cumsum([0, *(-(-count * dtype.itemsize // 64) * 64 for dtype in dtypes)])
        if len(self._memory) < ends[-1]:
            self._memory = np.empty(ends[-1], np.uint8)
        return [
            self._memory[end : end + count * dtype.itemsize].view(dtype).reshape(shape)
            for end, dtype in zip(ends[:-1], dtypes, strict=True)
        ]
