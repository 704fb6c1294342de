"""An interpreter that has imported what the tasks of an environment need, and is forked for each.

`python -m launch.local.warm_interpreter SOCKET MODULE …`: the modules are imported, one after the
other; what comes over the socket meanwhile is begun between two of them. Modules are imported and
nothing of them is run: a thread that waits inside a lock would not be there in a fork. A task comes
as open files: its request (JSON), the pipe on whose end it ends, its output, where it says
that it has begun and how it ended, and locks that are held until then. The interpreter ends with
its own standard input (`launch/local/guard.py`). Linux alone; nothing of this project is needed but
the guard.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.local import guard

#: What a task says once it is there, before anything of it is run.
BEGUN = b"+"
#: At most so many open files come with a task.
MOST_FILES = 16


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Import the modules and wait for tasks; returns in each task's process, with its request."""
    control = socket.socket(fileno=int(arguments[0]))
    guard.fork(lambda _: control.close())
    # Nobody asks how the guards of tasks ended: they say it themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for module in [*arguments[1:], ""]:
        # A stage whose packages are not here says so itself.
        with contextlib.suppress(Exception):
            if module:
                importlib.import_module(module)
        while not module or select.select([control], [], [], 0)[0]:
            if threading.active_count() > 1:
                raise RuntimeError(f"threads of '{module}' cannot be forked")
            if request := _task(control):
                return request
    raise AssertionError("unreachable")


def _task(control: socket.socket) -> dict[str, Any]:
    """Take one task and fork; its request in its own process, nothing in this one."""
    files = socket.recv_fds(control, 1, MOST_FILES)[1]
    if not files:
        # The launcher has no more.
        os._exit(0)
    # What is there lives as long as a task does: looked through, its memory would be copied.
    gc.freeze()
    with warnings.catch_warnings():
        # Of threads of numpy's, which ends them before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        for file in files:
            os.close(file)
        return {}
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, lifeline, output, report = files[:4]
    with os.fdopen(request, "rb") as stream:
        wanted: dict[str, Any] = json.load(stream)
    os.setsid()
    os.dup2(lifeline, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(lifeline)
    os.close(output)
    guard.fork(lambda code: _report(report, code))
    for file in files[3:]:
        os.close(file)
    return wanted


def _report(report: int, code: int) -> None:
    with contextlib.suppress(OSError):
        os.write(report, BEGUN if code < 0 else f"{code}".encode())


def _become(request: dict[str, Any]) -> None:
    """Make this process what a new one would be: variables, folder, arguments, name, chance."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = str(Path.cwd())
    sys.argv = ["-m", *request["arguments"]]
    _show(f"{sys.executable} -m cellmill {request['arguments'][0]} {request['folder']}/")
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _show(line: str) -> None:
    """Let `ps` say what this process is, in the room that its own command line took."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        text = line.encode().replace(b" ", b"\0")[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    _become(main(sys.argv[1:]))
    runpy.run_module("cellmill", run_name="__main__", alter_sys=True)
