"""Runs the server: `python -m serving --model FOLDER`."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from cellmill.compute.faults import fault_of
from cellmill.errors import CellmillError, MachineFault
from cellmill.terminal import say

_EXIT_MACHINE, _EXIT_BAD_INPUT = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; return 0, or 2 (1: the machine's fault) with one line on stderr.

    The server answers at once, and is ready once the network is loaded.
    """
    _keep_kernels()
    # What is to be said of an image is said in its answer.
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return _serve(argv)
    except CellmillError as error:
        return _ended(error)
    except OSError as error:
        fault = fault_of(error) or MachineFault("server", expected="a free port", found=f"{error}")
        return _ended(fault)


def _serve(argv: Sequence[str] | None) -> int:
    # Numba reads where it keeps what it compiled when it is imported.
    import uvicorn

    from serving.app import State, application
    from serving.loading import load
    from serving.metrics import Metrics
    from serving.settings import settings_of

    settings = settings_of(argv)
    state, metrics = State(), Metrics()
    server = uvicorn.Server(
        uvicorn.Config(
            application(settings, state, metrics),
            log_level="warning",
            access_log=False,
            # Vertex AI waits so long between two requests of a connection.
            timeout_keep_alive=620,
            timeout_graceful_shutdown=30,
            server_header=False,
        )
    )
    sock = socket.create_server((settings.host, settings.port), backlog=2048)
    failed: list[Exception] = []

    def prepare() -> None:
        try:
            state.name, served = load(settings, metrics.tiles.observe)
        except Exception as error:
            failed.append(error)
            server.should_exit = True
            return
        about = {key: f"{served.effect.get(key, '')}" for key in ("engine", "device", "precision")}
        metrics.model.info({"name": state.name, "version": served.version, **about})
        metrics.ready.set(1)
        state.served = served
        host, port = sock.getsockname()[:2]
        say(f"serving {state.name} {served.version} at http://{host}:{port}", to=sys.stderr)

    threading.Thread(target=prepare, daemon=True).start()
    with sock:
        server.run([sock])
    if not failed:
        return 0
    known = failed[0] if isinstance(failed[0], CellmillError) else fault_of(failed[0])
    if known is None:
        traceback.print_exception(failed[0])
        return _EXIT_MACHINE
    return _ended(known)


def _ended(error: CellmillError) -> int:
    say(f"cellmill: {error}", to=sys.stderr)
    return _EXIT_MACHINE if isinstance(error, MachineFault) else _EXIT_BAD_INPUT


def _keep_kernels() -> None:
    """Take what numba compiled to a place that can be written, where its own cannot.

    Numba writes beside what it finds, and without a place to write it keeps and finds nothing; the
    disk of a container is mostly read-only.
    """
    kept = os.environ.get("NUMBA_CACHE_DIR", "")
    if not kept or not Path(kept).is_dir() or _is_writable(Path(kept)):
        return
    own = Path(os.environ.get("TMPDIR", "/tmp"), f"cellmill-numba-{os.getuid()}")
    with contextlib.suppress(OSError):
        shutil.copytree(kept, own, dirs_exist_ok=True)
        os.environ["NUMBA_CACHE_DIR"] = str(own)


def _is_writable(folder: Path) -> bool:
    try:
        place = folder / f".cellmill-{os.getpid()}"
        place.touch()
        place.unlink()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
