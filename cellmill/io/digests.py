"""Whether the bytes of an image are those that are meant, and what they are known by."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from cellmill.errors import BadInput
from cellmill.io import uris

_CHUNK = 1 << 20


def checked_digest(
    uri: str, expected: str, file: IO[bytes] | None, remarks: list[str] | None = None
) -> str:
    """Return what tells the bytes that are read from others; refuse those that are not meant.

    What was given is held against the bytes themselves, or against what the store says of them. A
    kind that cannot be had here (a bucket's checksum of a file behind a mount) is remarked on, and
    is not recorded as if it had been checked. Where none was given a local file is not read for
    it: what it is known by is its `stamp`.

    Args:
        uri: of a file or an OME-Zarr.
        expected: its digest as it was launched with, `""` for none.
        file: the open file; None of an OME-Zarr.
        remarks: to which is added what could not be checked.

    Returns:
        A digest that was checked, a stamp, or `""` where there is neither.

    Raises:
        BadInput: the bytes are others.
    """
    if not expected:
        return stamp(uri)
    kind, value = expected.split(":", 1) if ":" in expected else (expected, "")
    if kind == "sha256":
        found = _sha256(uri, file)
    elif kind == "md5hash" and file is not None and uris.local_path(uri) is not None:
        md5 = base64.b64encode(_hashed(file, hashlib.md5(usedforsecurity=False))).decode()
        matches = value.split("+generation:", 1)[0] == md5
        found = expected if matches else f"md5hash:{md5}"
    else:
        found = uris.digest(uri) if uris.local_path(uri) is None else ""
        if found.split(":", 1)[0] != kind:
            if remarks is not None:
                remarks.append(f"its digest {kind} could not be checked where it was read")
            return ""
    if found != expected:
        raise BadInput(f"file '{uri}'", expected=f"the bytes of {expected}", found=found)
    return found


def stamp(uri: str) -> str:
    """Return what tells a local image from one that was changed or replaced, without reading it.

    Of a large image few tiles are read, and its digest would take all of it. It is no digest of
    the bytes and is not named like one: `stat:` and size and time of change (ns), or of an
    OME-Zarr the sha256 of its files' names, sizes and times. `""` for what is not there or not
    local.
    """
    path = uris.local_path(uri)
    if path is None or not path.exists():
        return ""
    if not path.is_dir():
        found = path.stat()
        return f"stat:{found.st_size}-{found.st_mtime_ns}"
    sha = hashlib.sha256()
    with uris.one_line(uri):
        for each in uris.files_below(path):
            about = each.stat()
            name = each.relative_to(path).as_posix()
            sha.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return f"stat:{sha.hexdigest()}"


def folder_digest(folder: Path) -> str:
    """`sha256:…` over the names and bytes of every file below a folder, in the names' order."""
    return files_digest(folder, sorted(p for p in folder.rglob("*") if p.is_file()))


def files_digest(folder: Path, files: Sequence[Path]) -> str:
    """`sha256:…` over the names, as seen from a folder, and the bytes of files, in their order."""
    sha = hashlib.sha256()
    for path in files:
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def _sha256(uri: str, file: IO[bytes] | None) -> str:
    if file is None:
        return uris.digest(uri)
    return f"sha256:{_hashed(file, hashlib.sha256()).hex()}"


def _hashed(file: IO[bytes], algorithm: Any) -> bytes:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        algorithm.update(chunk)
    file.seek(0)
    return bytes(algorithm.digest())
