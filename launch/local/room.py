"""How many tasks run at a time on this machine: as many as it has processors and memory for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Tasks at a time, as kfp.local runs the turns of a loop.
_MOST = 2
#: What a task takes beside what it is given to work in, and where nothing says more, in MiB.
_LEAST = 512


def available_mib() -> int:
    """Memory that can be had without swapping, as Linux tells; elsewhere half of all."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) >> 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 21


@dataclass
class Room:
    """Room for tasks: the first always has it, others if their memory is to be had.

    Attributes:
        most: tasks at a time.
    """

    most: int = _MOST
    _running: int = 0
    _change: threading.Condition = field(default_factory=threading.Condition)

    @contextlib.contextmanager
    def take(self, memory_mib: int) -> Iterator[None]:
        """Wait for room and have it within the block.

        Args:
            memory_mib: what the task is given to work in; 0 where nothing says it.
        """
        with self._change:
            while self._running and not self._fits(memory_mib):
                # Memory comes back without a word.
                self._change.wait(1.0)
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()

    def _fits(self, memory_mib: int) -> bool:
        return self._running < self.most and available_mib() >= memory_mib + _LEAST
