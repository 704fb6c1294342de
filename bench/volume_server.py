"""A server on this machine's loopback that stands in for those that volumes lie on.

It serves a folder with byte ranges, as object stores do (Neuroglancer precomputed, Zarr, N5), and
arrays by the calls of DVID that reading needs. It counts what it sends, and can be told to be busy.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_RAW = re.compile(r"/raw/0_1_2/(\d+)_(\d+)_(\d+)/(-?\d+)_(-?\d+)_(-?\d+)$")
UUID = "5f4b"


@dataclass
class VolumeServer:
    """What is served and what was sent.

    Attributes:
        folder: whose files are served.
        grey: by an instance's name its values `(Z, Y, X)` and where they begin (z, y, x).
        address: of the server.
        bytes_sent: of bodies.
        requests: answered, those that were refused too.
        ranges: requests for a part of a file.
        busy: so many of the next requests for voxels or files are answered 503.
    """

    folder: Path | None = None
    grey: Mapping[str, tuple[np.ndarray, tuple[int, int, int]]] = field(default_factory=dict)
    address: str = ""
    bytes_sent: int = 0
    requests: int = 0
    ranges: int = 0
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def dvid(self, instance: str) -> str:
        """URI of an instance."""
        return f"dvid://{self.address}/{UUID}/{instance}"


@contextlib.contextmanager
def serving(server: VolumeServer) -> Iterator[VolumeServer]:
    """Serve within the block."""

    class Handler(_Handler):
        state = server

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        server.address = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            found.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body go out as two packets: neither waits for the other to be acknowledged.
    disable_nagle_algorithm = True
    state: VolumeServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Say how long a file is."""
        self._answer_call()

    def do_GET(self) -> None:
        """Send a file, a part of it, or grey values."""
        self._answer_call()

    def _answer_call(self) -> None:
        path = self.path.partition("?")[0]
        with self.state.lock:
            self.state.requests += 1
            is_busy = self.state.busy > 0 and not path.endswith("/info")
            self.state.busy -= is_busy
        if is_busy:
            self._answer(503, b"")
        elif path.startswith("/api/node/"):
            self._dvid(path)
        else:
            self._file(path)

    def _file(self, path: str) -> None:
        file = self.state.folder / path.lstrip("/") if self.state.folder else None
        if file is None or ".." in path or not file.is_file():
            self._answer(404, b"")
            return
        content = file.read_bytes()
        if not (asked := _RANGE.fullmatch(self.headers.get("Range", ""))):
            self._answer(200, content)
            return
        start = int(asked[1])
        stop = min(int(asked[2]) + 1 if asked[2] else len(content), len(content))
        if start >= stop:
            self._answer(416, b"", f"bytes */{len(content)}")
            return
        with self.state.lock:
            self.state.ranges += 1
        self._answer(206, content[start:stop], f"bytes {start}-{stop - 1}/{len(content)}")

    def _dvid(self, path: str) -> None:
        parts = path.split("/")
        values = self.state.grey.get(parts[4]) if len(parts) > 5 and parts[3] == UUID else None
        if values is None:
            self._answer(400, b"no such instance")
            return
        array, origin = values
        if parts[5] == "info":
            low = origin[::-1]
            high = [o + n - 1 for o, n in zip(low, array.shape[::-1], strict=True)]
            extended = {"MinPoint": low, "MaxPoint": high, "VoxelSize": [8, 8, 8]}
            about = {
                "Base": {"TypeName": "uint8blk"},
                "Extended": {**extended, "VoxelUnits": ["nanometers"] * 3},
            }
            self._answer(200, json.dumps(about).encode())
        elif asked := _RAW.search(path):
            sides = [int(asked[n]) for n in (3, 2, 1)]
            at = [int(asked[n]) - o for n, o in zip((6, 5, 4), origin, strict=True)]
            # Outside of what is stored DVID sends zeros.
            found = np.zeros(sides, np.uint8)
            ends = [
                (max(a, 0), min(a + n, m)) for a, n, m in zip(at, sides, array.shape, strict=True)
            ]
            if all(a < b for a, b in ends):
                here = tuple(slice(a - o, b - o) for (a, b), o in zip(ends, at, strict=True))
                found[here] = array[tuple(slice(*each) for each in ends)]
            self._answer(200, found.tobytes())
        else:
            self._answer(400, b"no such call")

    def _answer(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "GET":
            with self.state.lock:
                self.state.bytes_sent += len(body)
            self.wfile.write(body)
