"""Downloading weights: whole or not at all, with patience, and without showing secrets.

A signed URL and a token are both secrets, so no message carries a URL's query or what the HTTP
library says of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests

from cellmill.errors import BadInput, CellmillError
from cellmill.models.token import TOKEN_VARIABLE, access_token

API_VARIABLE = "CELLMILL_DEEPCELL_API"
API = "https://users.deepcell.org/api/getData/"
MAX_BYTES = 4 << 30

_ATTEMPTS = 4
#: What comes is written in such parts; of what is cut off, whole ones are kept.
_CHUNK = 1 << 16
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_TIMEOUT_S = (10, 60)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_T = TypeVar("_T")


class _Again(Exception):
    """A failure that may pass: its text, and how long the server asks to wait."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


def deepcell_url(asset: str, environment: Mapping[str, str] = os.environ) -> str:
    """Ask DeepCell's data API where an asset may be downloaded from.

    Args:
        asset: `models/….tar.gz`.
        environment: holds the user's token, or the name of its secret (see `access_token`), and,
            for tests and mirrors, the API's address (`CELLMILL_DEEPCELL_API`).

    Returns:
        A signed URL, good for a short time.

    Raises:
        BadInput: there is no token, or it is refused, or there is no such asset.
        CellmillError: the server cannot be reached or does not answer as it should.
    """
    token = access_token(f"DeepCell asset '{asset}'", environment)
    api = environment.get(API_VARIABLE) or API
    parts = urlsplit(api)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise BadInput(API_VARIABLE, expected="an https address (a token is sent)", found=api)

    def ask() -> str:
        # requests keeps X-Api-Key across redirects, so none is followed.
        answer = _send(
            lambda: requests.post(
                api,
                data={"s3_key": asset},
                headers={"X-Api-Key": token},
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            ),
            f"DeepCell's data API ({parts.netloc})",
        )
        if answer.status_code in (401, 403):
            raise BadInput(
                f"token in {TOKEN_VARIABLE}",
                expected="one that DeepCell's data API accepts",
                found=f"HTTP {answer.status_code}",
            )
        if answer.status_code in (400, 404):
            raise BadInput(
                f"DeepCell asset '{asset}'",
                expected="one that its data API has and your token may read",
                found=f"HTTP {answer.status_code}",
            )
        try:
            url = answer.json()["url"] if answer.ok else None
        except (ValueError, KeyError, TypeError):
            url = None
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise CellmillError(
                f"DeepCell's data API ({parts.netloc}): expected a download address for '{asset}', "
                f"found HTTP {answer.status_code} without one"
            )
        return url

    return _patiently(ask, f"DeepCell asset '{asset}'")


def download(url: str, target: Path, what: str, *, max_bytes: int = MAX_BYTES) -> None:
    """Download a URL into a file; after an error the file is not there.

    What was cut off goes on where it stands, if the server says by a validator that it still has
    the same bytes; else it begins anew.

    Args:
        url: `http(s)`; may be signed.
        target: the file.
        what: its name in errors.
        max_bytes: refuse more.

    Raises:
        BadInput: the server refuses (HTTP 4xx), or there are too many bytes.
        CellmillError: it does not come whole after several attempts.
    """
    validator = ""

    def attempt() -> None:
        nonlocal validator
        have = target.stat().st_size if validator and target.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
        answer = _send(
            lambda: requests.get(url, stream=True, timeout=_TIMEOUT_S, headers=headers),
            urlsplit(url).netloc,
        )
        with answer:
            if have and answer.status_code in (206, 416) and not _goes_on(answer, have):
                validator = ""  # from the beginning
                raise _Again(f"HTTP {answer.status_code} for the bytes from {have} on")
            have = have if answer.status_code == 206 else 0
            if not answer.ok:
                raise BadInput(
                    what, expected="a download", found=f"HTTP {answer.status_code} from its server"
                )
            validator = _validator(answer)
            _receive(answer, target, what, max_bytes, have)

    try:
        _patiently(attempt, what)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _validator(answer: requests.Response) -> str:
    """What tells that the server still has the same bytes; a weak one does not."""
    tag = answer.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag


def _goes_on(answer: requests.Response, have: int) -> bool:
    told = answer.headers.get("Content-Range", "")
    return answer.status_code == 206 and told.startswith(f"bytes {have}-")


def _receive(
    answer: requests.Response, target: Path, what: str, max_bytes: int, have: int = 0
) -> None:
    """Write what comes behind the bytes that the file has."""
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    length = "" if encoded else answer.headers.get("Content-Length", "")
    received = 0
    try:
        with target.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                received += len(chunk)
                if have + received > max_bytes:
                    raise BadInput(what, expected=f"at most {max_bytes} bytes", found="more")
                file.write(chunk)
    except requests.RequestException:
        raise _Again(f"truncated after {received} of {length or 'unknown'} bytes") from None
    if length.isdigit() and received != int(length):
        raise _Again(f"truncated after {received} of {length} bytes")


def _send(request: Callable[[], requests.Response], server: str) -> requests.Response:
    try:
        answer = request()
    except requests.RequestException as error:
        raise _Again(f"no answer from {server} ({type(error).__name__})") from None
    if answer.status_code == 429 or answer.status_code >= 500:
        after = answer.headers.get("Retry-After", "")
        answer.close()
        raise _Again(
            f"HTTP {answer.status_code} from {server}", float(after) if after.isdigit() else 0
        )
    return answer


def _patiently(attempt: Callable[[], _T], what: str) -> _T:
    """Try several times, waiting twice as long before each next one."""
    wait = _FIRST_WAIT_S
    for left in reversed(range(_ATTEMPTS)):
        try:
            return attempt()
        except _Again as again:
            if not left:
                raise CellmillError(
                    f"{what}: expected a download, found {again} ({_ATTEMPTS} attempts)"
                ) from None
            time.sleep(min(max(wait, again.wait_s), _LONGEST_WAIT_S))
            wait *= 2
    raise AssertionError("unreachable")
