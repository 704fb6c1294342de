"""Files by URI: a path, ``file://``, ``gs://``, ``s3://``, ``https://``, or what else fsspec knows.

A plain path is taken letter by letter, so that ``#``, ``%``, spaces, quotes and brackets in a file
name mean themselves; ``file://`` and ``https://`` are percent-decoded, as their standards say.
A ``gs://`` URI is read under ``/gcs`` where Vertex AI mounts it.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

import fsspec
import requests

from cellmill.errors import BadInput, CellmillError

#: Where Vertex AI mounts Google Cloud Storage.
GCS_MOUNT = Path("/gcs")
#: What images end in, for folders and prefixes.
IMAGE_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
#: The package that opens a scheme, where fsspec needs one.
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs", "az": "adlfs"}
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_WEB = ("http", "https")
_TIMEOUT = (10, 60)
_CHUNK = 1 << 20


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in small letters; ``""`` for a plain path."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else ""


def local_path(uri: str) -> Path | None:
    """Return where a URI lies in this machine's file system, or None if it does not.

    Args:
        uri: a path, ``file://``, or ``gs://`` (then only where its bucket is mounted).
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

    A web address is fetched whole into a temporary file; a bucket is read in blocks, as asked for.

    Args:
        uri: what to open.

    Returns:
        A seekable binary file. The caller closes it.

    Raises:
        BadInput: nothing is there, it cannot be read, or the package for its scheme is missing.
    """
    path = local_path(uri)
    with _one_line(uri):
        if path is not None:
            return path.open("rb")
        if scheme_of(uri) in _WEB:
            return _download(uri)
        filesystem, name = _filesystem(uri)
        return cast(IO[bytes], filesystem.open(name, "rb"))


def is_zarr(uri: str) -> bool:
    """Whether a URI names a Zarr, a folder that is one image: it ends in ``.zarr``."""
    return uri.rstrip("/").lower().endswith(".zarr")


def exists(uri: str) -> bool:
    """Whether a file (or, in a file system or a bucket, a folder) is there.

    Raises:
        BadInput: it cannot be told: no network, no permission, or a package is missing.
    """
    path = local_path(uri)
    with _one_line(uri):
        if path is not None:
            return path.exists()
        if scheme_of(uri) in _WEB:
            return _head(uri) is not None
        filesystem, name = _filesystem(uri)
        return bool(filesystem.exists(name))


def digest(uri: str) -> str:
    """Return what tells these bytes from others, as ``algorithm:value``.

    A local file is read whole (``sha256:…``). For a bucket the store's own checksum is asked for,
    with the object's generation where there is one; for the web its ETag, or the sha256 of what it
    sends. A Zarr's is made of its files' names and bytes, or in a bucket of their checksums; one on
    the web has none, ``""``.

    Raises:
        BadInput: as ``open_uri``.
    """
    if is_zarr(uri):
        with _one_line(uri):
            return _digest_of_folder(uri)
    if local_path(uri) is None:
        with _one_line(uri):
            stamp = _remote_stamp(uri)
        if stamp:
            return stamp
    sha = hashlib.sha256()
    with open_uri(uri) as file, _one_line(uri):
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def _digest_of_folder(uri: str) -> str:
    folder = local_path(uri)
    sha = hashlib.sha256()
    if folder is not None:
        if not folder.is_dir():
            raise FileNotFoundError
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            sha.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    sha.update(chunk)
        return f"sha256:{sha.hexdigest()}"
    if scheme_of(uri) in _WEB:
        return ""
    filesystem, name = _filesystem(uri)
    found = filesystem.find(name, detail=True)
    if not found:
        raise FileNotFoundError
    for key in sorted(found):
        sha.update(f"{key.removeprefix(name)}\0{_stamp_of(found[key])}\0".encode())
    return f"objects:{sha.hexdigest()}"


def name_of(uri: str) -> str:
    """Return what an image is called: its file's name without folder, ``.ome`` and suffix."""
    if scheme_of(uri) in (*_WEB, "file"):
        uri = unquote(urlsplit(uri).path if scheme_of(uri) != "file" else uri)
    last = PurePosixPath(uri.rstrip("/").replace("\\", "/") or uri).name
    stem = PurePosixPath(last).stem
    return re.sub(r"\.ome$", "", stem, flags=re.IGNORECASE) or last or "image"


def unique_names(uris: Sequence[str]) -> list[str]:
    """Return a name per URI such that no two are alike, even where case is not told apart.

    Images of one name take their folders' names before it, as many as tell them apart; what no
    folder tells apart (``a.tif`` beside ``a.ome.tif``) is numbered.
    """
    names = [_as_file_name(name_of(uri)) for uri in uris]
    folders = [PurePosixPath(uri.split("://", 1)[-1]).parts[:-1] for uri in uris]
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        groups[_key(name)].append(i)
    for group in groups.values():
        depths = range(1, max(len(folders[i]) for i in group) + 1 if len(group) > 1 else 1)
        for depth in depths:
            if len({_key("/".join(folders[i][-depth:])) for i in group}) == len(group):
                for i in group:
                    parts = [p for p in folders[i][-depth:] if p != "/"]
                    names[i] = _as_file_name("_".join([*parts, names[i]]))
                break
    taken: set[str] = set()
    for i, name in enumerate(names):
        number, candidate = 2, name
        while _key(candidate) in taken:
            candidate, number = f"{name}-{number}", number + 1
        names[i] = candidate
        taken.add(_key(candidate))
    return names


def list_uris(pattern: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """Return the files that a file, folder, glob or prefix stands for, sorted.

    What exists is taken as it is, before its brackets and stars are read as a glob. A folder gives
    the files directly in it; hidden files are left out.

    Args:
        pattern: a path or URI; ``**`` in a glob crosses folders.
        suffixes: the endings to keep (any case) of folders, globs and prefixes; a file that is
            named outright is kept whatever it ends in.

    Raises:
        BadInput: nothing is there.
    """
    path = local_path(pattern)
    if is_zarr(pattern) and exists(pattern):
        return [pattern]
    with _one_line(pattern):
        if path is not None:
            found = _list_local(path, suffixes)
            if scheme_of(pattern) == "gs":
                found = [f"gs://{Path(f).relative_to(GCS_MOUNT).as_posix()}" for f in found]
        elif scheme_of(pattern) in _WEB:
            found = [pattern]
        else:
            found = _list_remote(pattern, suffixes)
    if not found:
        endings = ", ".join(suffixes)
        raise BadInput(
            f"'{pattern}'",
            expected=f"a file, or a folder, glob or prefix of files that end in {endings}",
            found="no such file",
        )
    return found


@contextlib.contextmanager
def _one_line(uri: str) -> Iterator[None]:
    """Turn whatever a file system, a store or its client raises into one line."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"file '{uri}'", expected="a file", found="nothing there") from None
    except IsADirectoryError:
        raise BadInput(f"file '{uri}'", expected="a file", found="a folder") from None
    except OSError as error:
        raise _unreadable(uri, error) from error
    except CellmillError:
        raise
    except Exception as error:
        # Clients of stores have error classes of their own (no credentials, no such bucket).
        if local_path(uri) is not None:
            raise
        raise _unreadable(uri, error) from error


def _unreadable(uri: str, error: Exception) -> BadInput:
    text = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
    return BadInput(f"file '{uri}'", expected="a file that can be read", found=text)


def _filesystem(uri: str) -> tuple[Any, str]:
    scheme = scheme_of(uri)
    # Else gcsfs asks another service, for another right, what kind of bucket each one is.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        return fsspec.core.url_to_fs(uri)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "")
        wanted = f"the package {package} (pip install {package})" if package else "its package"
        raise BadInput(
            f"'{uri}'",
            expected=f"{wanted}, which opens {scheme}://",
            found="not installed" if package else f"{error}",
        ) from error
    except ValueError as error:
        raise BadInput(
            f"'{uri}'",
            expected="a path, file://, gs://, s3:// or https://",
            found=f"the unknown scheme {scheme}://",
        ) from error


def _request(method: str, uri: str, **options: Any) -> requests.Response:
    try:
        return requests.request(method, uri, timeout=_TIMEOUT, **options)
    except requests.RequestException as error:
        raise BadInput(
            f"file '{uri}'", expected="an answer from its server", found=type(error).__name__
        ) from error


def _head(uri: str) -> requests.Response | None:
    """Ask a server about a file; None where it says that there is none."""
    answer = _request("HEAD", uri, allow_redirects=True)
    if answer.status_code in (404, 410):
        return None
    if answer.status_code in (403, 405, 501):
        # Servers that answer no HEAD (and signed addresses made for GET) are asked for the file.
        answer = _request("GET", uri, stream=True)
        answer.close()
        if answer.status_code in (404, 410):
            return None
    if not answer.ok:
        raise _refused(uri, answer)
    return answer


def _refused(uri: str, answer: requests.Response) -> BadInput:
    if answer.status_code in (404, 410):
        return BadInput(f"file '{uri}'", expected="a file", found="nothing there (HTTP 404)")
    found = f"HTTP {answer.status_code} {answer.reason}"
    return BadInput(f"file '{uri}'", expected="a file that can be read", found=found)


def _download(uri: str) -> IO[bytes]:
    file = tempfile.TemporaryFile(prefix="cellmill-")  # noqa: SIM115 - the caller closes it
    try:
        # Without compression on the way, Content-Length is the number of bytes that must come.
        with _request("GET", uri, stream=True, headers={"Accept-Encoding": "identity"}) as answer:
            if not answer.ok:
                raise _refused(uri, answer)
            try:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
            except requests.RequestException as error:
                raise _unreadable(uri, error) from error
            wanted = answer.headers.get("Content-Length", "")
            if wanted.isdigit() and not answer.headers.get("Content-Encoding"):
                _check_length(uri, int(wanted), file.tell())
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _check_length(uri: str, wanted: int, came: int) -> None:
    if came != wanted:
        raise BadInput(f"file '{uri}'", expected=f"{wanted} bytes", found=f"{came}: cut off")


def _remote_stamp(uri: str) -> str:
    """Return checksum and generation as the store tells them; ``""`` where it tells neither."""
    if scheme_of(uri) in _WEB:
        answer = _head(uri)
        if answer is None:
            raise BadInput(f"file '{uri}'", expected="a file", found="nothing there (HTTP 404)")
        # A weak ETag (W/"…") promises the same meaning, not the same bytes.
        etag = answer.headers.get("ETag", "")
        return f"etag:{etag.strip(chr(34))}" if etag and not etag.startswith("W/") else ""
    filesystem, name = _filesystem(uri)
    return _stamp_of(filesystem.info(name))


def _stamp_of(info: Mapping[str, Any]) -> str:
    """Checksum and generation of an object; ``""`` where neither is known."""
    found = {key.lower(): str(value).strip('"') for key, value in info.items() if value}
    checksum = next((f"{k}:{found[k]}" for k in ("md5hash", "crc32c", "etag") if k in found), "")
    version = found.get("generation") or found.get("versionid") or ""
    if checksum and version and version != "null":
        return f"{checksum}+generation:{version}"
    return checksum


def _list_local(path: Path, suffixes: Sequence[str]) -> list[str]:
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        candidates = [str(p) for p in path.iterdir()]
    else:
        candidates = glob.glob(str(path), recursive=True)  # noqa: PTH207 - absolute, any name
        if not candidates and path.parent.is_dir():
            candidates = [str(p) for p in path.parent.iterdir() if p.name.startswith(path.name)]
    return sorted(c for c in candidates if _wanted(c, suffixes) and Path(c).is_file())


def _list_remote(pattern: str, suffixes: Sequence[str]) -> list[str]:
    filesystem, name = _filesystem(pattern)
    if filesystem.isfile(name):
        return [pattern]
    if filesystem.isdir(name):
        found = filesystem.ls(name, detail=False)
    else:
        # A prefix is a glob whose own letters mean themselves.
        found = filesystem.glob(name) or filesystem.glob(f"{glob.escape(name)}*")
    wanted = [f for f in found if _wanted(f, suffixes) and filesystem.isfile(f)]
    return sorted(filesystem.unstrip_protocol(f) for f in wanted)


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    last = PurePosixPath(name).name
    return not last.startswith(".") and last.lower().endswith(tuple(s.lower() for s in suffixes))


def _as_file_name(name: str) -> str:
    cleaned = re.sub(r"[/\0\n\r]", "_", name).lstrip(".") or "image"
    # 150 bytes of a file's usual 255: suffixes and folders' names still fit.
    return cleaned.encode()[:150].decode(errors="ignore")


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
