"""Watches over a process, and ends it with all that it started once the launcher is gone.

`python guard.py STOP COMMAND …`: the standard input is a pipe of which the launcher holds the other
end. When that closes, because the launcher closes it or has ended, however that was, the command
`STOP` (a JSON list, which may be empty) is run, and the processes of `COMMAND` are ended: asked
first, then killed. `fork` guards what the caller itself goes on to do. Only the standard library is
needed, and nothing of this project.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

#: Seconds in which a process may end by itself, and in which the stop command has to.
_GRACE = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code, as a shell gives it."""
    process = subprocess.Popen(
        list(arguments[1:]), stdin=subprocess.DEVNULL, start_new_session=True
    )
    return _stand(process.pid, process.wait, json.loads(arguments[0]))


def fork(tell: Callable[[int], None]) -> None:
    """Go on in a child, in a session of its own, over which the calling process stands guard.

    Only the child returns, with no standard input. The caller's standard input is the pipe of the
    launcher's; it ends with the child's exit code, as a shell gives it.

    Args:
        tell: called in the parent: with -1 once the child is there, then with its exit code.
    """
    child = os.fork()
    if not child:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return
    code = 1
    try:
        tell(-1)
        code = _stand(child, lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), [])
        tell(code)
    finally:
        # What the caller was made for, its child does.
        os._exit(code)


def _stand(process: int, wait: Callable[[], int], stop: Sequence[str]) -> int:
    """Guard the leader of a session to its end; return its exit code."""
    # Whoever ends the guard means what it guards.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _end_aside(process, stop))
    threading.Thread(target=_watch, args=(process, stop), daemon=True).start()
    code = wait()
    # What it started and left behind goes with it.
    _signal(process, signal.SIGKILL)
    return 128 - code if code < 0 else code


def _watch(process: int, stop: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    _end(process, stop)


def _end_aside(process: int, stop: Sequence[str]) -> None:
    threading.Thread(target=_end, args=(process, stop), daemon=True).start()


def _end(process: int, stop: Sequence[str]) -> None:
    if stop:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                stop,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_GRACE,
                check=False,
            )
    _signal(process, signal.SIGTERM)
    time.sleep(_GRACE)
    _signal(process, signal.SIGKILL)


def _signal(process: int, number: int) -> None:
    """Send a signal to the command's whole session."""
    with contextlib.suppress(OSError):
        os.killpg(process, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
