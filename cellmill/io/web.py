"""Files on web servers: read in parts where a server has ranges, else downloaded once.

Source: RFC 9110 (range requests, validators).
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import requests
import urllib3

from cellmill.compute.faults import free_bytes, shown
from cellmill.errors import BadInput, MachineFault
from cellmill.io.ranges import BLOCK, RangedFile, buffered

#: Seconds that a server may take to answer a call, and to send the next bytes.
TIMEOUT = (10.0, 60.0)
#: Seconds within which at least `_LEAST_BYTES` must come: a server may not drip for ever.
_STALL = 60.0
_LEAST_BYTES = 1 << 16
_CHUNK = 1 << 20
_GONE = (404, 410)
#: Servers that are busy are asked again, after so many seconds.
_BUSY = (429, 502, 503, 504)
_WAITS = (0.5, 2.0, 0.0)
#: Left free on the disk that a download goes to.
_CHECKED_EVERY = 1 << 24


def open_web(uri: str) -> IO[bytes]:
    """Open a file on a web server.

    The first request asks for the file's beginning. A server that sends no more than that is asked
    for further parts as they are read; what one sends whole goes into a temporary file, at once.

    Args:
        uri: `http://…` or `https://…`.

    Returns:
        A seekable binary file. The caller closes it.

    Raises:
        BadInput: there is no such file, the server does not answer in time, or it sends something
            else than what was asked for.
    """
    remote = _Remote(uri)
    answer = remote.ask(0, BLOCK)
    with answer:
        if answer.status_code == 416:
            return buffered(RangedFile(remote.name, 0, remote.fetch))
        if answer.status_code == 206:
            total = remote.total(answer, 0, BLOCK)
            file = RangedFile(remote.name, total, remote.fetch)
            file.keep(0, b"".join(remote.body(answer, min(BLOCK, total))))
            return buffered(file)
        return _downloaded(remote, answer)


def is_on_web(uri: str) -> bool:
    """Whether a web server says that it has a file.

    Raises:
        BadInput: it does not answer, or refuses to say.
    """
    return _head(_Remote(uri)) is not None


def web_stamp(uri: str) -> str:
    """Return the ETag that a server gives these bytes, as `etag:…`; `""` where it gives none.

    Raises:
        BadInput: there is no such file, or no answer.
    """
    remote = _Remote(uri)
    answer = _head(remote)
    if answer is None:
        raise remote.missing()
    # A weak ETag (W/"…") promises the same meaning, not the same bytes.
    etag = answer.headers.get("ETag", "")
    return f"etag:{etag.strip(chr(34))}" if etag and not etag.startswith("W/") else ""


class _Remote:
    """A file's address, and what is said of it; its query may be a secret and is not shown."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.name = urlsplit(uri)._replace(query="", fragment="").geturl()
        self._session = requests.Session()
        self._seen: tuple[str, ...] = ()

    def ask(self, start: int, stop: int) -> requests.Response:
        """Ask for bytes; the answer's body is not read yet.

        Raises:
            BadInput: the server does not answer, or refuses.
        """
        answer = self.request("GET", {"Range": f"bytes={start}-{stop - 1}"})
        if not answer.ok and answer.status_code != 416:
            answer.close()
            raise self.refused(answer)
        return answer

    def request(self, method: str, headers: dict[str, str]) -> requests.Response:
        """Send a request, again where the server is busy.

        Raises:
            BadInput: it does not answer.
        """
        # Without compression on the way, Content-Length is the number of bytes that must come.
        headers = {"Accept-Encoding": "identity", **headers}
        for wait in _WAITS:
            try:
                answer = self._session.request(
                    method,
                    self._uri,
                    headers=headers,
                    timeout=TIMEOUT,
                    stream=True,
                    allow_redirects=True,
                )
            except requests.Timeout:
                raise self.late() from None
            except requests.RequestException as error:
                raise BadInput(
                    self._label, expected="an answer from its server", found=type(error).__name__
                ) from error
            if answer.status_code not in _BUSY or not wait:
                break
            answer.close()
            time.sleep(wait)
        return answer

    def total(self, answer: requests.Response, start: int, stop: int) -> int:
        """Return the size of the whole file, of which an answer holds a part.

        Raises:
            BadInput: it holds another part, or the file is no longer the one that was opened.
        """
        given = answer.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", given.strip())
        if match is None:
            raise self._wrong(f"bytes {start}-{stop - 1} of a file", f"'{given}'")
        first, last, total = (int(each) for each in match.groups())
        if first != start or last != min(stop, total) - 1:
            raise self._wrong(f"bytes {start}-{stop - 1}", f"'{given}'")
        seen = (answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), f"{total}")
        if self._seen and seen != self._seen:
            raise self._wrong("the file that was opened", "another: it changed in the meantime")
        self._seen = seen
        return total

    def fetch(self, start: int, stop: int) -> bytes:
        """Fetch a part.

        Raises:
            BadInput: the server does not send it.
        """
        with self.ask(start, stop) as answer:
            if answer.status_code != 206:
                found = f"HTTP {answer.status_code}: it changed in the meantime"
                raise self._wrong(f"bytes {start}-{stop - 1}", found)
            self.total(answer, start, stop)
            return b"".join(self.body(answer, stop - start))

    def body(self, answer: requests.Response, wanted: int = -1) -> Iterator[bytes]:
        """Give an answer's bytes as they come.

        Args:
            answer: an open one.
            wanted: how many must come; -1: not known.

        Raises:
            BadInput: fewer or more come, or none for too long.
        """
        came, since, before = 0, time.monotonic(), 0
        while True:
            try:
                chunk = _next_bytes(answer)
            except requests.Timeout:
                raise self.late() from None
            except (requests.RequestException, OSError) as error:
                so_far = f"{came} bytes, then {type(error).__name__}: cut off"
                raise self._wrong("a file that can be read", so_far) from error
            if not chunk:
                break
            came += len(chunk)
            if time.monotonic() - since > _STALL:
                if came - before < _LEAST_BYTES:
                    raise self.late()
                since, before = time.monotonic(), came
            if 0 <= wanted < came:
                raise self._wrong(f"{wanted} bytes", "more")
            yield chunk
        if wanted >= 0 and came != wanted:
            raise self._wrong(f"{wanted} bytes", f"{came}: cut off")

    def late(self) -> BadInput:
        """The server took too long."""
        connect, read = TIMEOUT
        return self._wrong(
            f"an answer within {connect:g} s and its next bytes within {read:g} s", "a time-out"
        )

    def missing(self) -> BadInput:
        """There is no such file."""
        return self._wrong("a file", "nothing there (HTTP 404)")

    def refused(self, answer: requests.Response) -> BadInput:
        """What a server says in the place of a file."""
        if answer.status_code in _GONE:
            return self.missing()
        return self._wrong("a file that can be read", f"HTTP {answer.status_code} {answer.reason}")

    def no_room(self, needed: int, free: int) -> BadInput:
        """The file does not fit the disk."""
        return MachineFault(
            self._label,
            expected=f"room for {shown(needed)} in {tempfile.gettempdir()} (TMPDIR), for its "
            "server sends no parts of files",
            found=f"{shown(free)} free",
        )

    @property
    def _label(self) -> str:
        return f"file '{self.name}'"

    def _wrong(self, expected: str, found: str) -> BadInput:
        return BadInput(self._label, expected=expected, found=found)


def _next_bytes(answer: requests.Response) -> bytes:
    """Return the bytes that have come, at most a chunk; none at the end."""
    raw: Any = answer.raw
    try:
        # Older versions have no read1: theirs waits until as many bytes as asked for have come.
        if hasattr(raw, "read1"):
            return bytes(raw.read1(_CHUNK, decode_content=True))
        return bytes(raw.read(1 << 13, decode_content=True))
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _head(remote: _Remote) -> requests.Response | None:
    """Ask a server about a file; None where it says that there is none."""
    answer = remote.request("HEAD", {})
    answer.close()
    if answer.status_code in (403, 405, 501):
        # Servers that answer no HEAD (and signed addresses made for GET) are asked for a byte.
        answer = remote.request("GET", {"Range": "bytes=0-0"})
        answer.close()
    if answer.status_code in _GONE:
        return None
    if not answer.ok and answer.status_code != 416:
        raise remote.refused(answer)
    return answer


def _downloaded(remote: _Remote, answer: requests.Response) -> IO[bytes]:
    length = answer.headers.get("Content-Length", "")
    known = length.isdigit() and not answer.headers.get("Content-Encoding")
    wanted = int(length) if known else -1
    _check_room(remote, wanted)
    handle, path = tempfile.mkstemp(prefix="cellmill-")
    os.close(handle)
    # Opened by its path, it has a name, for programs that ask for one; unlinked, it is gone however
    # the process ends.
    file = Path(path).open("w+b")  # noqa: SIM115 - the caller closes it
    try:
        Path(path).unlink()
        checked = 0
        for chunk in remote.body(answer, wanted):
            file.write(chunk)
            if file.tell() - checked > _CHECKED_EVERY:
                checked = file.tell()
                _check_room(remote, 0)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _check_room(remote: _Remote, needed: int) -> None:
    free = free_bytes(Path(tempfile.gettempdir()))
    if max(needed, 0) > free:
        raise remote.no_room(needed, free)
