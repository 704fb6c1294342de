"""Places for large arrays, local or in a bucket, and the marks of work done there.

A place is a path or a URI (`file://`, `gs://`, `s3://`, `memory://`), opened through TensorStore.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import tensorstore as ts

from cellmill.arrays.checksums import crc32
from cellmill.compute.faults import out_of
from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput

_CACHE_BYTES = 64 << 20
#: Seconds for a connection, and seconds without a byte, after which a server is asked again.
#: Without them TensorStore waits for ever. What is set already stays.
_TIME_LIMITS = {
    "TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS": "10",
    "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "20",
    "TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES": "1",
}
#: How often: web servers are given up sooner than clouds, which ask for patience when busy.
_RETRIES = {"http": 3, "gcs": 10, "s3": 10}
#: Marks that are read at once, and what each begins with.
_AT_ONCE = 64
_CHECK = struct.Struct("<L")
#: How TensorStore tells a system's error number.
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")


@functools.cache
def context(cache_bytes: int = _CACHE_BYTES) -> ts.Context:
    """What all arrays of this process share: a small cache, as many threads as may be used.

    Args:
        cache_bytes: how much is kept of what was read; arrays share what others of this size keep.
    """
    threads = thread_count()
    for name, value in _TIME_LIMITS.items():
        os.environ.setdefault(name, value)
    return ts.Context(
        {
            **{f"{kind}_request_retries": {"max_retries": n} for kind, n in _RETRIES.items()},
            "cache_pool": {"total_bytes_limit": cache_bytes},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": max(4, threads)},
            # What a killed process wrote stays without it. What a machine without power lost is
            # found: files and marks are compared with their checksums.
            "file_io_sync": False,
        }
    )


def location(uri: str) -> dict[str, Any]:
    """A place as TensorStore's key-value specification.

    Raises:
        BadInput: arrays cannot be kept there.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        local = Path(unquote(rest.removeprefix("localhost")) if separator else uri).expanduser()
        return {"driver": "file", "path": f"{local.absolute()}".rstrip("/") + "/"}
    bucket, _, path = rest.partition("/")
    path = path.strip("/") + "/" if path.strip("/") else ""
    if scheme == "gs":
        return {"driver": "gcs", "bucket": bucket, "path": path}
    if scheme == "s3":
        found = {"driver": "s3", "bucket": bucket, "path": path}
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint:
            found |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
        return found
    if scheme in ("http", "https"):
        return {"driver": "http", "base_url": f"{scheme}://{bucket}", "path": f"/{path}"}
    if scheme == "memory":
        return {"driver": "memory", "path": f"{bucket}/{path}"}
    raise BadInput(
        f"store '{uri}'", expected="a path, file://, gs:// or s3://", found=f"{scheme}://"
    )


def key_values(uri: str) -> ts.KvStore:
    """Open a place.

    Raises:
        BadInput: arrays cannot be kept there, or it cannot be reached.
    """
    try:
        return ts.KvStore.open(location(uri), context=context()).result()
    except ValueError as error:
        raise refused(uri, error) from error


def remove(uri: str) -> None:
    """Remove a place with all that lies there; there may be nothing.

    Raises:
        BadInput: it cannot be reached.
    """
    where = location(uri)
    if where["driver"] == "file":
        shutil.rmtree(where["path"], ignore_errors=True)
        return
    try:
        key_values(uri).delete_range(ts.KvStore.KeyRange()).result()
    except ValueError as error:
        raise refused(uri, error) from error


def refused(uri: str, error: Exception) -> BadInput:
    """What TensorStore says of a place, in one line; a `MachineFault` where its disk is full."""
    code = _SYSTEM_ERROR.search(str(error))
    if fault := out_of(int(code.group(1)) if code else None, f"store '{uri}'"):
        return fault
    text = str(error).split(" [", 1)[0].split("\n", 1)[0]
    return BadInput(f"store '{uri}'", expected="arrays that can be read or written", found=text)


class Ledger:
    """Which parts of a piece of work are done, kept beside its results, one small file a part.

    A part is marked once its results are written. A stage that was killed and is started again
    asks the ledger and does the rest. Marks of other work (another fingerprint) do not count, nor
    do damaged ones: each begins with the checksum of what it keeps.

    Args:
        uri: the place.
        fingerprint: of all that the results depend on.
    """

    def __init__(self, uri: str, fingerprint: str) -> None:
        self._uri = uri
        self._store = key_values(uri)
        self._prefix = f"{fingerprint[:32] or 'any'}/"

    def done(self, known: Collection[str] = ()) -> set[str]:
        """The parts that are marked.

        Args:
            known: parts that need not be looked at again: they are left out.
        """
        skipped = {self._prefix + part for part in known}
        names = [name for name in self._list(self._prefix) if name not in skipped]
        found: set[str] = set()
        try:
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                reading = [self._store.read(name) for name in some]
                for name, read in zip(some, reading, strict=True):
                    if _kept(read.result().value) is not None:
                        found.add(name.removeprefix(self._prefix))
        except ValueError as error:
            raise refused(self._uri, error) from error
        return found

    def mark(self, part: str, payload: bytes = b"") -> None:
        """Say that a part is done, and keep what later work needs of it."""
        try:
            self._store.write(self._prefix + part, _CHECK.pack(crc32(payload)) + payload).result()
        except ValueError as error:
            raise refused(self._uri, error) from error

    def unmark(self, part: str) -> None:
        """Say that a part is not done; there may be no mark of it."""
        key = self._prefix + part
        try:
            self._store.delete_range(ts.KvStore.KeyRange(key, key + "\0")).result()
        except ValueError as error:
            raise refused(self._uri, error) from error

    def kept(self, part: str) -> bytes | None:
        """What was kept with a part's mark; None where it is not marked, or its mark is damaged."""
        return _kept(self._mark(part).value)

    def payload(self, part: str) -> bytes:
        """What was kept with a part's mark.

        Raises:
            BadInput: the part is not marked, or its mark is damaged.
        """
        found = self._mark(part)
        kept = _kept(found.value)
        if kept is None:
            said = "a damaged mark of it" if found.state == "value" else "no mark of it"
            raise BadInput(f"store '{self._uri}'", expected=f"'{part}' done", found=said)
        return kept

    def _mark(self, part: str) -> ts.KvStore.ReadResult:
        try:
            return self._store.read(self._prefix + part).result()
        except ValueError as error:
            raise refused(self._uri, error) from error

    def clear(self) -> None:
        """Remove all marks, of this and of other work."""
        remove(self._uri)

    def claim(self) -> None:
        """Remove the marks of other work: its results are about to be written over."""
        try:
            for key in self._list(""):
                if not key.startswith(self._prefix):
                    self._store.delete_range(ts.KvStore.KeyRange(key, key + "\0")).result()
        except ValueError as error:
            raise refused(self._uri, error) from error

    def _list(self, prefix: str) -> list[str]:
        try:
            span = ts.KvStore.KeyRange(prefix, prefix[:-1] + "0") if prefix else None
            keys = self._store.list(span).result() if span else self._store.list().result()
        except ValueError as error:
            raise refused(self._uri, error) from error
        return [key.decode() for key in keys]


def _kept(mark: bytes) -> bytes | None:
    """What a mark keeps; None of one that is missing or damaged."""
    if len(mark) < _CHECK.size:
        return None
    payload = mark[_CHECK.size :]
    return payload if _CHECK.unpack_from(mark) == (crc32(payload),) else None


def packed(**arrays: np.ndarray) -> bytes:
    """Small arrays as the bytes of an `.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(payload: bytes) -> dict[str, np.ndarray]:
    """The arrays that `packed` packed.

    Raises:
        BadInput: the bytes are damaged.
    """
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(
            "kept arrays", expected="the bytes of an .npz", found=f"{type(error).__name__}: {error}"
        ) from error
