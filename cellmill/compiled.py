"""How the library's numba kernels are compiled, and how many threads run them.

Kernels hold no lock of the interpreter, so threads of one process run them side by side, each on a
band or tile of its own: no OpenMP, nothing that a forked process would trip over.

Compiled code is kept in numba's cache, whose key has the CPU's name and features. To build a cache
on one machine (an image) and use it on others, set the same target on both before Python starts,
for example `NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe`,
and `NUMBA_CACHE_DIR` to a folder of the image. Results do not depend on the target: no kernel lets
the compiler reorder or fuse floating-point operations.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

from cellmill.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")
_VARIABLE = "CELLMILL_THREADS"


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call with given types; without the interpreter's lock."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each kernel that calls it."""
    return numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function)


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
        work: mostly a kernel; it must not hang on which items are done before.
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
