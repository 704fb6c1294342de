"""How many threads work, and work shared out among them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cellmill.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")
_VARIABLE = "CELLMILL_THREADS"


def thread_count() -> int:
    """Number of threads: `CELLMILL_THREADS`, else the CPUs that affinity and cgroup quota allow.

    Raises:
        BadInput: `CELLMILL_THREADS` is not a whole number above 0.
    """
    wanted = os.environ.get(_VARIABLE, "")
    if wanted:
        if not wanted.isdecimal() or not int(wanted):
            raise BadInput(_VARIABLE, expected="a whole number above 0", found=f"'{wanted}'")
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(usable or 1, _quota()))


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> list[Result]:
    """Call `work` on every item, several at a time; results in the order of the items.

    Within the work of another call items are done one after the other: the threads are busy.

    Args:
        work: mostly a kernel; it must not depend on which items are done before.
        items: bands, tiles, channels.
        threads: how many; `None` is `thread_count()`.

    Raises:
        Exception: the first that an item raised.
    """
    items = list(items)
    count = min(thread_count() if threads is None else threads, len(items))
    if count <= 1 or getattr(_WORKER, "is_one", False):
        return [work(item) for item in items]
    with ThreadPoolExecutor(count, initializer=_become_worker) as pool:
        return list(pool.map(work, items))


_WORKER = threading.local()


def _become_worker() -> None:
    _WORKER.is_one = True


def threads_within(memory_mib: int, bytes_each: float) -> int:
    """Number of threads, at least 1, of which each takes so many bytes, within a budget."""
    return max(1, min(thread_count(), int(memory_mib * 2**20 // max(bytes_each, 1))))


def bands(rows: int, least: int = 64, per_thread: int = 1) -> list[tuple[int, int]]:
    """Cut rows into bands `(start, stop)` of nearly equal height, so many a thread.

    Args:
        rows: how many there are.
        least: no band is lower than this, if there is more than one.
        per_thread: bands a thread; several where their cost differs.
    """
    count = max(1, min(thread_count() * per_thread, rows // least))
    edges = [rows * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that the container's quota (cgroup v2, else v1) amounts to, rounded up; many if none."""
    for read in (_quota_v2, _quota_v1):
        try:
            quota, period = read(root)
            return -(-quota // period) if quota > 0 else _NO_QUOTA
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return _NO_QUOTA


_NO_QUOTA = 1 << 20


def _quota_v2(root: Path) -> tuple[int, int]:
    quota, period = (root / "cpu.max").read_text().split()
    return (-1 if quota == "max" else int(quota)), int(period)


def _quota_v1(root: Path) -> tuple[int, int]:
    folder = root / "cpu"
    return tuple(int((folder / f"cpu.cfs_{n}_us").read_text()) for n in ("quota", "period"))  # type: ignore[return-value]
