"""Processes, so named that another process can tell whether one still runs."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        machine: what tells this machine from others (and a container from another).
        pid: its number there.
        started: when it was started, so that a later process of that number is not taken for it.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """A process of this machine."""
        return cls(this_machine(), pid, _started(pid))

    def is_alive(self) -> bool | None:
        """Whether it still runs; None where that cannot be seen from here."""
        if self.machine != this_machine():
            return None
        return bool(self.started) and _started(self.pid) == self.started


def seconds_alive() -> float:
    """Return how long ago this process was started or forked; 0 where the system does not say."""
    try:
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, since_boot - int(_started(os.getpid())) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError):
        return 0.0


@functools.cache
def this_machine() -> str:
    """What processes share that can look at one another: a machine, and in it a container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process of this machine was started; empty where there is none of that number."""
    try:
        # Its name, which is before this, may hold anything, brackets too.
        about = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        # One that has ended stays in the table until its parent asks how.
        return "" if about[0] in "ZX" else about[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "some time"
