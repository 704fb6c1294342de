"""Seconds that the parts of some work take, where threads do them side by side."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Parts:
    """Adds up, by part, how long threads were at it and the processor time that they took.

    Parts may lie within each other: a part has its own seconds alone. As threads work side by side,
    the parts of a work can add up to more wall time than it took.

    Args:
        pooled: the part whose work other threads do, as those of a network's engine; it has the
            processor time that no part has of its own.
    """

    def __init__(self, pooled: str) -> None:
        self._pooled = pooled
        self._lock = threading.Lock()
        self._spent: dict[str, tuple[float, float]] = {}
        self._thread = threading.local()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what this thread does within the block."""
        outer = getattr(self._thread, "within", (0.0, 0.0))
        self._thread.within = (0.0, 0.0)
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            within = self._thread.within
            self._thread.within = (outer[0] + wall, outer[1] + cpu)
            with self._lock:
                before = self._spent.get(name, (0.0, 0.0))
                self._spent[name] = (before[0] + wall - within[0], before[1] + cpu - within[1])

    def seconds(self, cpu: float) -> dict[str, tuple[float, float]]:
        """Wall and processor seconds by part, in the order in which they first ended.

        Args:
            cpu: processor seconds that the whole process took meanwhile.
        """
        with self._lock:
            found = dict(self._spent)
        if self._pooled in found:
            others = sum(spent for name, (_, spent) in found.items() if name != self._pooled)
            wall, own = found[self._pooled]
            found[self._pooled] = (wall, max(own, cpu - others))
        return found
