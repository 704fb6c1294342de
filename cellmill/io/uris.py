"""Files by URI: a path, `file://`, `gs://`, `s3://`, `https://`, or what else fsspec knows.

A plain path is taken letter by letter, so that `#`, `%`, spaces, quotes and brackets in a file
name mean themselves; `file://` and `https://` are percent-decoded, as their standards say.
A `gs://` URI is read under `/gcs` where Vertex AI mounts it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

import fsspec

from cellmill import extras
from cellmill.errors import BadInput, CellmillError
from cellmill.io.ranges import RangedFile, buffered
from cellmill.io.suffixes import is_zarr
from cellmill.io.web import is_on_web, open_web, web_stamp

#: Where Vertex AI mounts Google Cloud Storage.
GCS_MOUNT = Path("/gcs")
#: The package that opens a scheme, where fsspec needs one.
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_WEB = ("http", "https")
_CHUNK = 1 << 23
#: Seconds that a store may take for one call, be it a part of a file or a list of all.
STORE_TIMEOUT = 120.0
#: Bytes that are asked of a store at a time.
_PART = 1 << 22


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in small letters; `""` for a plain path."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else ""


def local_path(uri: str) -> Path | None:
    """Return where a URI lies in this machine's file system, or None if it does not.

    Args:
        uri: a path, `file://`, or `gs://` (then only where its bucket is mounted).
    """
    if not uri or "\0" in uri:
        raise BadInput(f"URI {uri!r}", expected="a path or a URI", found="no name of a file")
    scheme = scheme_of(uri)
    if scheme == "":
        return Path(uri).expanduser() if uri.startswith("~/") else Path(uri)
    rest = uri.split("://", 1)[1]
    if scheme == "file":
        return Path(unquote(rest.removeprefix("localhost")))
    if scheme == "gs" and (GCS_MOUNT / rest.split("/", 1)[0]).is_dir():
        return GCS_MOUNT / rest
    return None


def open_uri(uri: str) -> IO[bytes]:
    """Open a URI for reading.

    A bucket and a web server are read in parts, as asked for; a file of a web server that sends no
    parts is fetched whole into a temporary file.

    Args:
        uri: what to open.

    Returns:
        A seekable binary file. The caller closes it.

    Raises:
        BadInput: nothing is there, it cannot be read, or the package for its scheme is missing.
    """
    path = local_path(uri)
    with one_line(uri):
        if path is not None:
            _check_stored(uri, path)
            return path.open("rb")
        if scheme_of(uri) in _WEB:
            return open_web(uri)
        return _open_object(uri)


def beside(uri: str, name: str) -> str:
    """Return the URI of a file of a name in the folder of another.

    Args:
        uri: of a file; its query is left out.
        name: as the file system or the store has it.
    """
    scheme = scheme_of(uri)
    if not scheme:
        return str(Path(uri).parent / name)
    if scheme in _WEB:
        parts = urlsplit(uri)
        folder = parts.path.rpartition("/")[0]
        return parts._replace(path=f"{folder}/{quote(name)}", query="", fragment="").geturl()
    return f"{uri.rpartition('/')[0]}/{quote(name) if scheme == 'file' else name}"


def exists(uri: str) -> bool:
    """Whether a file (or, in a file system or a bucket, a folder) is there.

    Raises:
        BadInput: it cannot be told: no network, no permission, or a package is missing.
    """
    path = local_path(uri)
    with one_line(uri):
        if path is not None:
            return path.exists()
        if scheme_of(uri) in _WEB:
            return is_on_web(uri)
        filesystem, name = filesystem_of(uri)
        return bool(asked(filesystem, "exists", name))


def digest(uri: str) -> str:
    """Return what tells these bytes from others, as `algorithm:value`.

    A local file is read whole (`sha256:…`). For a bucket the store's own checksum is asked for,
    with the object's generation where there is one; for the web its ETag, or the sha256 of what it
    sends. A Zarr's is made of its files' names and bytes, or in a bucket of their checksums; one on
    the web has none, `""`.

    Raises:
        BadInput: as `open_uri`.
    """
    if is_zarr(uri):
        with one_line(uri):
            return _digest_of_folder(uri)
    if local_path(uri) is None:
        with one_line(uri):
            stamp = _remote_stamp(uri)
        if stamp:
            return stamp
    sha = hashlib.sha256()
    with open_uri(uri) as file, one_line(uri):
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def _digest_of_folder(uri: str) -> str:
    folder = local_path(uri)
    sha = hashlib.sha256()
    if folder is not None:
        for path in files_below(folder):
            sha.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    sha.update(chunk)
        return f"sha256:{sha.hexdigest()}"
    if scheme_of(uri) in _WEB:
        return ""
    filesystem, name = filesystem_of(uri)
    found = asked(filesystem, "find", name, detail=True)
    if not found:
        raise FileNotFoundError
    for key in sorted(found):
        sha.update(f"{key.removeprefix(name)}\0{_stamp_of(found[key])}\0".encode())
    return f"objects:{sha.hexdigest()}"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, sorted by path.

    Raises:
        OSError: a folder in it cannot be read, or a link leads nowhere.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if stat.S_ISDIR(entry.stat().st_mode):
            yield from files_below(Path(entry.path))
        else:
            yield Path(entry.path)


@contextlib.contextmanager
def one_line(uri: str) -> Iterator[None]:
    """Turn whatever a file system, a store or its client raises into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"file '{uri}'", expected="a file", found=reason_of(uri, error)) from None
    except IsADirectoryError:
        raise BadInput(f"file '{uri}'", expected="a file", found="a folder") from None
    except TimeoutError as error:
        limit = f"an answer of its store within {STORE_TIMEOUT:g} s"
        raise BadInput(f"file '{uri}'", expected=limit, found="a time-out") from error
    except OSError as error:
        raise _unreadable(uri, error) from error
    except CellmillError:
        raise
    except Exception as error:
        # Clients of stores have error classes of their own (no credentials, no such bucket).
        if local_path(uri) is not None:
            raise
        raise _unreadable(uri, error) from error


def reason_of(uri: str, error: Exception) -> str:
    """Say why a file cannot be opened: of a link to nowhere where it leads, in a folder which."""
    path, name = local_path(uri), getattr(error, "filename", None)
    at = Path(name) if isinstance(name, str) else path
    inside = f" at '{at}'" if path is not None and at is not None and path in at.parents else ""
    if isinstance(error, FileNotFoundError):
        if at is not None and at.is_symlink():
            return f"a link to '{at.readlink()}', where nothing is{inside and f',{inside}'}"
        return f"nothing there{inside}"
    said = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
    return f"{said}{inside}"


def _unreadable(uri: str, error: Exception) -> BadInput:
    found = reason_of(uri, error)
    return BadInput(f"file '{uri}'", expected="a file that can be read", found=found)


def _check_stored(uri: str, path: Path) -> None:
    """Refuse what would be waited for: a pipe, a socket, a terminal."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode)):
        found = "a named pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise BadInput(f"file '{uri}'", expected="a file", found=found)


def _open_object(uri: str) -> IO[bytes]:
    filesystem, name = filesystem_of(uri)
    about = asked(filesystem, "info", name)
    if about.get("type") == "directory":
        raise IsADirectoryError

    def fetch(start: int, stop: int) -> bytes:
        # Parts of a part come at a time, each within the time limit.
        starts = list(range(start, stop, _PART))
        ends = [min(begin + _PART, stop) for begin in starts]
        with one_line(uri):
            names = [name] * len(starts)
            found = asked(filesystem, "cat_ranges", names, starts, ends, on_error="raise")
        content = b"".join(found)
        if len(content) != stop - start:
            short = f"{len(content)}: it changed in the meantime"
            raise BadInput(f"file '{uri}'", expected=f"{stop - start} bytes", found=short)
        return content

    return buffered(RangedFile(uri, int(about["size"]), fetch))


def asked(filesystem: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a file system's method, with a time limit if what is behind it is elsewhere."""
    if inspect.iscoroutinefunction(getattr(filesystem, f"_{method}", None)):
        options["timeout"] = STORE_TIMEOUT
    return getattr(filesystem, method)(*arguments, **options)


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URI, and what the file is called in it.

    Raises:
        BadInput: the scheme is unknown, or the package that opens it is missing.
    """
    scheme = scheme_of(uri)
    # Else gcsfs asks another service, for another right, what kind of bucket each one is.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        return fsspec.core.url_to_fs(uri)
    except ImportError as error:
        if package := _PACKAGES.get(scheme, ""):
            raise extras.missing(package, f"'{uri}'") from error
        raise BadInput(
            f"'{uri}'", expected=f"the package that opens {scheme}://", found=f"{error}"
        ) from error
    except ValueError as error:
        raise BadInput(
            f"'{uri}'",
            expected="a path, file://, gs://, s3:// or https://",
            found=f"the unknown scheme {scheme}://",
        ) from error


def _remote_stamp(uri: str) -> str:
    """Return checksum and generation as the store tells them; `""` where it tells neither."""
    if scheme_of(uri) in _WEB:
        return web_stamp(uri)
    filesystem, name = filesystem_of(uri)
    return _stamp_of(asked(filesystem, "info", name))


def _stamp_of(info: Mapping[str, Any]) -> str:
    """Checksum and generation of an object; `""` where neither is known."""
    found = {key.lower(): str(value).strip('"') for key, value in info.items() if value}
    checksum = next((f"{k}:{found[k]}" for k in ("md5hash", "crc32c", "etag") if k in found), "")
    version = found.get("generation") or found.get("versionid") or ""
    if checksum and version and version != "null":
        return f"{checksum}+generation:{version}"
    return checksum
