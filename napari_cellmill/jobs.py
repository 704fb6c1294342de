"""Long work in a thread: its progress comes to the window, and it can be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from cellmill.errors import CellmillError

Report = Callable[[str, float], None]
"""Takes the name of a step and the part of it that is done, 0 to 1; raises where work is to end."""


class Cancelled(Exception):
    """Raised in the work by its report of progress, once it is cancelled."""


#: What work gives that was cancelled. An exception would be shown as an error.
_CANCELLED = object()


@dataclass(frozen=True)
class _Refused:
    """What was wrong with the input, in one line."""

    line: str


class Job(QObject):
    """One piece of work.

    Args:
        work: is given what it reports its progress to, and returns a result.

    Attributes:
        progressed: a step's name and the part of it that is done.
        done: the result.
        refused: one line on bad input.
        cancelled: the work has ended without a result.
        ended: whichever of these, or an error that napari shows.
    """

    progressed = Signal(str, float)
    done = Signal(object)
    refused = Signal(str)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, work: Callable[[Report], Any]) -> None:
        super().__init__()
        self._work = work
        self._stop = threading.Event()
        self._worker = create_worker(self._run, _start_thread=False)
        self._worker.returned.connect(self._returned)
        self._worker.finished.connect(self.ended)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._worker.start()

    def cancel(self) -> None:
        """Ask the work to end; it does at its next report."""
        self._stop.set()

    def report(self, step: str, part: float) -> None:
        """Show progress; see `Report`."""
        if self._stop.is_set():
            raise Cancelled
        self.progressed.emit(step, part)

    def _run(self) -> Any:
        # Qt's threads go on from one piece of work to the next, Python's state of them does not;
        # pybind11 (scipy.fft, OpenVINO) keeps the state that it saw first in a thread, and crashes
        # with it in the next. A thread of Python's ends with its state.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._attempt).result()

    def _attempt(self) -> Any:
        try:
            return self._work(self.report)
        except Cancelled:
            return _CANCELLED
        except CellmillError as error:
            return _Refused(str(error))

    def _returned(self, result: Any) -> None:
        if result is _CANCELLED:
            self.cancelled.emit()
        elif isinstance(result, _Refused):
            self.refused.emit(result.line)
        else:
            self.done.emit(result)
