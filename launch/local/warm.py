"""Warm interpreters: one an environment and its variables, started once a run, forked for tasks.

A process that starts anew imports for half a second to five before it works. Here one imports
early, side by side with the launcher's own work, and every task is a fork of it: a process of its
own with its own variables, folder, log, guard and exit code, as one that is started anew
(`launch/local/warm_interpreter.py`). Where a fork cannot be the same, or does not begin, the task
is started anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch import ROOT
from launch.local.warm_interpreter import BEGUN, MOST_FILES

#: The variable that turns warm interpreters off: 0 starts every task anew.
VARIABLE = "CELLMILL_WARM"
#: What begins the names of variables that are read when a task runs, never while modules are
#: imported: these may differ between a warm interpreter and its tasks.
READ_LATE = "CELLMILL_"
_PROGRAM = ["-m", "launch.local.warm_interpreter"]
#: A process's exit code after SIGKILL.
_KILLED = -9


@dataclass(frozen=True)
class Running:
    """A task's processes.

    Attributes:
        output: what it prints, line by line, until it has ended.
        end: ends it, by and by.
        wait: waits until it has ended; returns its exit code.
    """

    output: Iterable[str]
    end: Callable[[], None]
    wait: Callable[[], int]


@dataclass(frozen=True)
class Warmth:
    """The warm interpreter that a task can be forked from.

    Attributes:
        python: the interpreter.
        environ: its variables; the task has more.
    """

    python: str
    environ: Mapping[str, str]

    @property
    def _key(self) -> tuple[str, frozenset[tuple[str, str]]]:
        return self.python, frozenset(self.environ.items())

    def __hash__(self) -> int:
        return hash(self._key)


def is_on() -> bool:
    """Whether tasks are forked from warm interpreters: on Linux, unless `CELLMILL_WARM=0`."""
    return sys.platform == "linux" and os.environ.get(VARIABLE, "1") != "0"


def is_stage(command: Sequence[str]) -> bool:
    """Whether a command is `python -m cellmill STAGE …`."""
    return len(command) > 3 and list(command[1:3]) == ["-m", "cellmill"]


@dataclass
class WarmInterpreters:
    """The warm interpreters of one run; they end with it, and with this process."""

    _started: dict[Warmth, _Interpreter | None] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ended: bool = False

    def start(self, warmth: Warmth, modules: Iterable[str] = ()) -> None:
        """Let an interpreter import modules, unless there is one; it is not waited for."""
        with self._lock:
            if not self._ended and warmth not in self._started:
                self._started[warmth] = _Interpreter.start(warmth, modules)

    def begin(
        self,
        warmth: Warmth,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        locks: Sequence[int],
    ) -> Running | None:
        """Begin a task; None where it cannot be begun so.

        Args:
            warmth: what it is forked from.
            arguments: those after `python -m cellmill`: the stage and its own.
            environ: all its variables.
            folder: in which it works.
            locks: open files that hold locks until it has ended.
        """
        self.start(warmth)
        interpreter = self._started.get(warmth)
        if not interpreter or len(locks) + 4 > MOST_FILES:
            return None
        request = {"arguments": [*arguments], "environ": {**environ}, "folder": str(folder)}
        return interpreter.begin(json.dumps(request).encode(), locks)

    def end(self, *, wait: bool = True) -> None:
        """End the interpreters; tasks that run go on."""
        with self._lock:
            self._ended = True
            found = [each for each in self._started.values() if each]
        for each in found:
            each.end()
        for each in found if wait else ():
            each.process.wait()


@dataclass(frozen=True)
class _Interpreter:
    """One of them: its process, and the socket over which it is given tasks."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, warmth: Warmth, modules: Iterable[str]) -> _Interpreter | None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    [warmth.python, *_PROGRAM, str(theirs.fileno()), *modules],
                    cwd=ROOT,
                    env=warmth.environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                # Started anew, the task will say what is wrong.
                ours.close()
                return None
        return cls(process, ours)

    def begin(self, request: bytes, locks: Sequence[int]) -> Running | None:
        # Our ends are closed in whatever else this process starts.
        (lifeline, life), (output, out), (report, said) = os.pipe(), os.pipe(), os.pipe()
        begun = False
        with contextlib.ExitStack() as theirs, contextlib.suppress(OSError):
            files = [_request(request), lifeline, out, said]
            for file in files:
                theirs.callback(os.close, file)
            with self.lock:
                socket.send_fds(self.control, [BEGUN], [*files, *locks])
            theirs.close()
            begun = os.read(report, len(BEGUN)) == BEGUN
        if begun:
            return _running(life, output, report)
        for file in (life, output, report):
            os.close(file)
        return None

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.control.close()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()


def _request(text: bytes) -> int:
    """An open file in memory with a text: it may hold a token."""
    file = os.memfd_create("task")
    with open(file, "wb", closefd=False) as stream:
        stream.write(text)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _running(life: int, output: int, report: int) -> Running:
    """A task by our ends of its pipes, of which each is closed once."""
    lock, open_ends = threading.Lock(), {life}

    def end() -> None:
        with lock:
            if life in open_ends:
                open_ends.remove(life)
                os.close(life)

    def wait() -> int:
        with open(report, "rb") as file:
            text = file.read()
        end()
        return int(text) if text else _KILLED

    return Running(open(output, errors="replace"), end, wait)


def started_anew(process: subprocess.Popen[str]) -> Running:
    """A task whose process was started anew, under its guard."""
    assert process.stdout is not None

    def end() -> None:
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()

    return Running(process.stdout, end, process.wait)
