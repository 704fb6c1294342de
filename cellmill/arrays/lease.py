"""Which run works in a store: one at a time, however many tasks it has.

A store that tasks share has a lease, `lease.json` beside its arrays. It names the run, and the
tasks of it that work at the moment; each says every few seconds that it is alive. A run that finds
the lease of another one is refused while that one lives, and takes the lease over once it does not:
at once where its processes were on this machine and have ended, else when no sign of life has come
for a while. What changes hands is written on condition that nobody else did so first: a file that
is only made if it is not there, a bucket's conditional write.

Within `leases()`, which holds for a stage, a store is held from its first use on.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cellmill.compute.processes import Process, this_machine
from cellmill.errors import BadInput, MachineFault
from cellmill.terminal import say
from cellmill.typed_json import from_json

#: By which a launcher tells its tasks what the run is called, and which process starts them.
RUN_VARIABLE, LAUNCHER_VARIABLE = "CELLMILL_RUN", "CELLMILL_LAUNCHER"
_FILE = "lease.json"
#: Seconds between signs of life; without one for so long a task is taken for dead.
_BEAT, _DEAD = 15.0, 60.0
#: Seconds in which the next task of a run has to begin, where its processes cannot be looked at.
_PAUSE = 300.0
_POLL = 1.0
_TRIES = 50


@dataclass(frozen=True)
class Task:
    """A task that works in a store at the moment.

    Attributes:
        process: it runs in.
        host: the name of its machine.
        what: the stage.
        beat: grows with each sign of life.
    """

    process: Process
    host: str
    what: str
    beat: int = 0


@dataclass(frozen=True)
class Lease:
    """What a store's lease says.

    Attributes:
        run: the run that has it.
        time: of the last change, ISO 8601.
        host: the name of the machine that made it.
        machine: see `Process`.
        launcher: the process that starts the run's tasks and lives as long as the run; none where
            that is a cloud, or a person.
        tasks: those that work now; none between two tasks.
    """

    run: str
    time: str
    host: str
    machine: str
    launcher: Process | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)

    def __str__(self) -> str:
        what = ", ".join(sorted({task.what for task in self.tasks.values()})) or "between two tasks"
        return f"run '{self.run}' on {self.host} ({what}, last sign of life {self.time})"

    def is_alive(self) -> bool | None:
        """Whether its run still goes on; None where that cannot be seen from here."""
        processes = [task.process for task in self.tasks.values()]
        if self.launcher:
            processes.append(self.launcher)
        seen = [process.is_alive() for process in processes]
        if True in seen:
            return True
        if None in seen or (not seen and self.machine != this_machine()):
            return None
        return False


class _Unwritable(BadInput):
    """A place takes no lease."""


class _Held:
    """The lease of one store, as this process has it or asks for it."""

    def __init__(self, place: str, run: str, what: str) -> None:
        from cellmill.arrays.store import key_values

        self.place, self.run = place, run
        self._store, self._id = key_values(place), uuid.uuid4().hex
        self._task = Task(Process.of(os.getpid()), socket.gethostname(), what)
        self.lost = ""

    def take(self, *, begins: bool) -> None:
        """Get the lease.

        Args:
            begins: whether the run begins to work here, and may follow another one; else what lies
                here has to be its own.

        Raises:
            BadInput: another run has the lease, or the place cannot be written.
        """
        for _ in range(_TRIES):
            found, version = self._read()
            tasks: Mapping[str, Task] = found.tasks if found else {}
            if found and found.run != self.run:
                if not begins:
                    expected = "what its own run left there (start again from the first stage)"
                    raise BadInput(f"store '{self.place}'", expected=expected, found=f"{found}")
                if self._lives(found, version):
                    expected = "one in which no other run works (or another STORE)"
                    raise BadInput(f"store '{self.place}'", expected=expected, found=f"{found}")
                tasks = {}
            if self._write({**tasks, self._id: self._task}, version):
                return
        raise BadInput(f"store '{self.place}'", expected="a lease to be had", found=f"{found}")

    def beat(self) -> None:
        """Give a sign of life; notice if another run took the lease."""
        self._task = replace(self._task, beat=self._task.beat + 1)
        for _ in range(_TRIES):
            found, version = self._read()
            if found and found.run != self.run:
                self.lost = f"{found}"
                return
            if self._write({**(found.tasks if found else {}), self._id: self._task}, version):
                return

    def rest(self, *, failed: bool) -> None:
        """Say that the task has ended. After a failure the run is over, unless others work."""
        for _ in range(_TRIES):
            found, version = self._read()
            if not found or found.run != self.run:
                return
            left = {name: task for name, task in found.tasks.items() if name != self._id}
            if self._write(left if left or not failed else None, version):
                return

    def _lives(self, found: Lease, version: bytes) -> bool:
        """Whether the run that has the lease still goes on, looked at for as long as it takes."""
        alive = found.is_alive()
        if alive is not None:
            return alive
        patience = _DEAD if found.tasks else _PAUSE - _seconds_since(found.time)
        begun = time.monotonic()
        if patience > 0:
            say(
                f"waiting: store '{self.place}' is of {found}; it is taken over after "
                f"{patience:.0f} s without another sign",
                to=sys.stderr,
            )
        while (left := begun + patience - time.monotonic()) > 0:
            time.sleep(min(_POLL, left))
            now, unchanged = self._read()
            if unchanged != version:
                return now is not None and now.run == found.run
        return False

    def _read(self) -> tuple[Lease | None, bytes]:
        """What the lease says (nothing, where it is damaged), and which version of it that is."""
        from cellmill.arrays.store import refused

        try:
            found = self._store.read(_FILE).result()
        except ValueError as error:
            raise refused(self.place, error) from error
        with contextlib.suppress(BadInput, ValueError):
            return from_json(Lease, json.loads(found.value), ""), found.stamp.generation
        return None, found.stamp.generation

    def _write(self, tasks: Mapping[str, Task] | None, version: bytes) -> bool:
        """Write the lease, or remove it, unless it has changed; whether it was written."""
        from cellmill.arrays.store import refused

        text = None
        if tasks is not None:
            about = Lease(
                self.run, _now(), socket.gethostname(), this_machine(), _launcher(), dict(tasks)
            )
            text = json.dumps(asdict(about), indent=1).encode()
        try:
            stamp = self._store.write(_FILE, text, if_equal=version).result()
        except (ValueError, NotImplementedError) as error:
            said = refused(self.place, error)
            if isinstance(said, MachineFault):
                raise said from error
            raise _Unwritable(said.what, expected=said.expected, found=said.found) from error
        # An empty version says that the condition did not hold.
        return bool(stamp.generation)


class _Leases:
    """The leases that a stage has, and what keeps them."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._held: dict[str, _Held] = {}
        self._lock, self._taking = threading.Lock(), threading.Lock()
        self._ended, self._interrupts = threading.Event(), False
        self._worker = threading.get_ident()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def hold(self, place: str, run: str, *, begins: bool, writes: bool) -> None:
        # What is held is kept while another lease is waited for.
        with self._taking:
            if place in self._held:
                return
            lease = _Held(place, run, self._what)
            try:
                lease.take(begins=begins)
            except _Unwritable:
                if writes:
                    raise
                # What nobody can write can be read by anybody.
                return
            with self._lock:
                self._held[place] = lease
            if not self._thread.is_alive():
                self._thread.start()

    def keeps(self, place: str) -> bool:
        with self._lock:
            lease = self._held.get(place)
        if lease:
            lease.beat()
        return lease is not None and not lease.lost

    def end(self, *, failed: bool) -> None:
        # An interruption asked for while the work ended is not to reach what comes after.
        with contextlib.suppress(KeyboardInterrupt):
            with self._lock:
                self._ended.set()
            # A sign of life that comes after the end would be one of nobody's.
            if self._thread.is_alive():
                self._thread.join(_BEAT)
            if self._interrupts:
                # Taken back, it would leave Python looking for it for ever, which hangs a profiler
                # (CPython 3.11): one comes, and is caught here, whether the first has come or not.
                _interrupt(self._worker)
                while True:
                    time.sleep(0)
        with self._lock:
            for lease in self._held.values():
                if not lease.lost:
                    with contextlib.suppress(BadInput):
                        lease.rest(failed=failed)

    def check(self) -> None:
        for lease in self._held.values():
            if lease.lost:
                raise BadInput(
                    f"store '{lease.place}'",
                    expected=f"the lease of run '{lease.run}' until its work was done",
                    found=f"it taken over by {lease.lost}",
                )

    def _keep(self) -> None:
        while not self._ended.wait(_BEAT):
            with self._lock:
                held = [lease for lease in self._held.values() if not lease.lost]
            for lease in held:
                # A network that is away for a moment is no reason to give up.
                with contextlib.suppress(BadInput):
                    lease.beat()
            if any(lease.lost for lease in held):
                # Another run works there: not one more value of this one is to be written.
                with self._lock:
                    if not self._ended.is_set():
                        self._interrupts = True
                        _interrupt(self._worker)
                return


def _interrupt(thread: int) -> None:
    """Raise `KeyboardInterrupt` in a thread, in place of one that has not come to it yet.

    No signal is sent: where SIGINT is ignored, as in a shell's background, it would be lost.
    """
    error = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)


_LEASES: ContextVar[_Leases | None] = ContextVar("leases", default=None)


@contextlib.contextmanager
def leases(what: str) -> Iterator[None]:
    """Hold the stores that are used within the block until it ends.

    Args:
        what: what is done, for those who ask: the stage.

    Raises:
        BadInput: another run took a store over meanwhile; the block is interrupted for it.
    """
    mine = _Leases(what)
    token = _LEASES.set(mine)
    failed = True
    try:
        yield
        mine.check()
        failed = False
    except KeyboardInterrupt:
        mine.check()
        raise
    finally:
        _LEASES.reset(token)
        mine.end(failed=failed)


def hold(place: str, run: str, *, begins: bool = False, writes: bool = True) -> None:
    """Hold a store until the block of `leases` ends; outside of one nothing is held.

    Args:
        place: the folder or URI in which the store's arrays lie.
        run: the run that works.
        begins: whether it begins to work there, and may follow a run that is over.
        writes: whether it writes there; who only reads needs no lease where none can be written.

    Raises:
        BadInput: another run works there, or has worked there since this one began; or the place
            cannot be written.
    """
    mine = _LEASES.get()
    if mine:
        mine.hold(place, run, begins=begins, writes=writes)


def may_remove(place: str) -> bool:
    """Whether what lies in a store is this process's to remove: it has the lease, or there is none.

    Args:
        place: the folder or URI in which the store's arrays lie.
    """
    mine = _LEASES.get()
    return mine is None or mine.keeps(place)


def run_name(known: str = "") -> str:
    """What the run at hand is called: by its launcher, or as is known; else by a new name."""
    return os.environ.get(RUN_VARIABLE) or known or uuid.uuid4().hex[:12]


def run_variables(run: str) -> dict[str, str]:
    """The variables by which this process tells the tasks that it starts of a run.

    Args:
        run: what it is called. It goes on as long as this process lives.
    """
    launcher = json.dumps(asdict(Process.of(os.getpid())))
    return {RUN_VARIABLE: run, LAUNCHER_VARIABLE: launcher}


def end_run(root: Path, run: str) -> None:
    """Give up all leases of a run whose tasks have ended, in the stores below a local folder."""
    for path in [*root.glob(f"*/{_FILE}"), *root.glob(f"*/*/{_FILE}")]:
        with contextlib.suppress(BadInput, ValueError, OSError):
            if from_json(Lease, json.loads(path.read_text()), "").run == run:
                path.unlink()


def _launcher() -> Process | None:
    with contextlib.suppress(BadInput, ValueError):
        found: Process = from_json(Process, json.loads(os.environ.get(LAUNCHER_VARIABLE, "")), "")
        return found
    return None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _seconds_since(when: str) -> float:
    with contextlib.suppress(ValueError, TypeError):
        return (datetime.now().astimezone() - datetime.fromisoformat(when)).total_seconds()
    return _PAUSE
