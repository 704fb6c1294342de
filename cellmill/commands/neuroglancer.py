"""`cellmill neuroglancer outputs/latest`: a transferred volume and its source in Neuroglancer.

Neuroglancer, a page in a browser, reads web servers and buckets, not paths. What lies on this
machine is served to it on the loopback, read-only: the folders of the two volumes and nothing else.
"""

from __future__ import annotations

import http.server
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput
from cellmill.io.uris import local_path
from cellmill.style_transfer.viewing import VIEWER, made_form, neuroglancer_link, neuroglancer_state
from cellmill.style_transfer.volumes import levels_of, open_volume
from cellmill.style_transfer.writing import FILE_NAME
from cellmill.terminal import say

#: Of volumes that are folders of files.
_FORMS = ("precomputed", "zarr", "zarr3", "n5")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
#: What lets pages of other addresses read this one, by browsers' rules.
_SHARED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Expose-Headers": "Content-Range, Content-Length",
}


def main(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C; return 0.

    Raises:
        BadInput: no transferred volume is there, or the port is taken.
    """
    parser = OneLineParser(prog="cellmill neuroglancer", description=__doc__)
    parser.add_argument(
        "path",
        nargs="?",
        default="outputs/latest",
        help="folder of a run, or volume.json (default: outputs/latest)",
    )
    parser.add_argument("--port", type=int, default=8000, help="of this machine; 0: any")
    parser.add_argument("--viewer", default=VIEWER, help=f"its address (default: {VIEWER})")
    given = parser.parse_args(arguments)
    server, state = server_of(_said(Path(given.path)), given.port)
    with server:
        say(neuroglancer_link(state, given.viewer))
        say(f"serving on {server.server_address[1]}, Ctrl-C ends")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _said(given: Path) -> Mapping[str, Any]:
    """What a run says of its volume."""
    for path in (given, given / FILE_NAME, given / "transfer" / FILE_NAME):
        if path.is_file():
            try:
                said = json.loads(path.read_text())
                _ = said["volume"], said["source"]
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"'{path}'", expected=FILE_NAME, found=f"{error!r}") from error
            return dict(said)
    expected = f"the folder of a transferred volume, with {FILE_NAME}"
    raise BadInput(f"'{given}'", expected=expected, found="none")


def server_of(
    said: Mapping[str, Any], port: int = 0
) -> tuple[http.server.ThreadingHTTPServer, dict[str, Any]]:
    """A server of the two volumes, and the state of a viewer that reads them there.

    Args:
        said: of `volume.json`: `volume`, `source`, `scale`, `black_white`.
        port: of the loopback; 0 takes any.

    Raises:
        BadInput: a volume cannot be opened, or the port is taken.
    """
    levels = tuple(said.get("black_white") or (0.0, 0.0))
    scale = int(said.get("scale") or 0)
    source = open_volume(said["source"], levels=levels_of(*levels), scale=scale)
    open_volume(said["volume"])
    folders: dict[str, Path] = {}

    class Handler(_Handler):
        served = folders

    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BadInput("port", expected="one that is free", found=f"{port}") from error
    addresses = []
    for name, uri, form in (
        ("source", said["source"], source.form),
        ("transferred", said["volume"], made_form(said["volume"])),
    ):
        scheme, separator, place = uri.partition("://")
        path = local_path(place if separator and scheme in _FORMS else uri)
        if path is not None and form in _FORMS:
            folders[name] = path.resolve()
            uri = f"{form}://http://127.0.0.1:{server.server_address[1]}/{name}"
        addresses.append(uri)
    return server, neuroglancer_state(addresses[0], addresses[1], source)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends files of some folders, or parts of them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Mapping[str, Path] = {}

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_OPTIONS(self) -> None:
        """Say that pages of other addresses may read this."""
        self._answer(HTTPStatus.NO_CONTENT, b"")

    def do_HEAD(self) -> None:
        """Say how long a file is."""
        self._file()

    def do_GET(self) -> None:
        """Send a file or a part of it."""
        self._file()

    def _file(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        name, _, rest = path.lstrip("/").partition("/")
        folder = self.served.get(name)
        file = None if folder is None or "\0" in rest else (folder / rest).resolve()
        if folder is None or file is None or not file.is_relative_to(folder) or not file.is_file():
            self._answer(HTTPStatus.NOT_FOUND, b"")
            return
        size = file.stat().st_size
        start, stop = _part(self.headers.get("Range", ""), size)
        if (start, stop) == (0, size):
            self._answer(HTTPStatus.OK, file.read_bytes())
            return
        if start >= stop:
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", f"bytes */{size}")
            return
        with file.open("rb") as opened:
            opened.seek(start)
            content = opened.read(stop - start)
        self._answer(HTTPStatus.PARTIAL_CONTENT, content, f"bytes {start}-{stop - 1}/{size}")

    def _answer(self, status: HTTPStatus, content: bytes, part: str = "") -> None:
        self.send_response(status)
        for header, value in _SHARED.items():
            self.send_header(header, value)
        self.send_header("Content-Length", f"{len(content)}")
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _part(asked: str, size: int) -> tuple[int, int]:
    """What part of a file is asked for; all of it where none is, or in words not known."""
    found = _RANGE.fullmatch(asked)
    if not found or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(size - int(found[2]), 0), size
    stop = min(int(found[2]) + 1, size) if found[2] else size
    return int(found[1]), stop
