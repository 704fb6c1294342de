"""Progress of long work: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from cellmill.terminal import printable

LOG_INTERVAL_S = 5.0
BAR_INTERVAL_S = 0.1
_BAR_WIDTH = 24


class Progress:
    """Shows done/total, rate and time left on stderr.

    Args:
        label: what is being done.
        total: how many units there are.
        unit: the unit's name, plural.
        stream: where to show it.
    """

    def __init__(
        self, label: str, total: int, unit: str = "images", stream: TextIO | None = None
    ) -> None:
        self.label = printable(label)
        self.total = total
        self.unit = unit
        self.done = 0
        self._note = ""
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._start = time.monotonic()
        self._shown = self._start

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Work that was over before the first line needs no line; work that failed has its error.
        if self._terminal and self._shown > self._start:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        if kind is None and (self.total > 1 or time.monotonic() - self._start > LOG_INTERVAL_S):
            self._stream.write(f"{self._line()}\n")
            self._stream.flush()

    def note(self, text: str) -> None:
        """Say how the work stands (a training's loss): what stands at the end of lines from now."""
        self._note = printable(text)

    def advance(self, units: int = 1) -> None:
        """Say that some units more are done."""
        self.done += units
        now = time.monotonic()
        if now - self._shown < (BAR_INTERVAL_S if self._terminal else LOG_INTERVAL_S):
            return
        self._shown = now
        if self._terminal:
            filled = _BAR_WIDTH * self.done // max(self.total, 1)
            bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
            self._stream.write(f"\r\x1b[K{bar} {self._line()}")
        else:
            self._stream.write(f"{self._line()}\n")
        self._stream.flush()

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate else float("inf")
        eta = f", {_duration(left)} left" if self.done < self.total and rate else ""
        return (
            f"{self.label}: {self.done}/{self.total} {self.unit}, "
            f"{rate:.3g} {self.unit}/s, {_duration(elapsed)}{eta}{self._note and f'; {self._note}'}"
        )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
