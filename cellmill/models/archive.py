"""Opening the archive of a model without trusting it.

A model comes from the internet and is unpacked beside the user's files, so only plain files and
folders below the target are written; anything else (absolute names, `..`, links, devices, encrypted
or repeated members) is refused by name, and so is more than a bounded number of bytes or files.
"""

from __future__ import annotations

import errno
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from cellmill.errors import BadInput

MAX_BYTES = 8 << 30
MAX_FILES = 10_000
_CHUNK = 1 << 20
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    # What zipfile says of a member that is encrypted, or packed in a way that it does not know, and
    # of names that are no text.
    *(RuntimeError, NotImplementedError, ValueError),
)


@dataclass(frozen=True)
class _Member:
    """One plain file of an archive."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def is_archive(path: Path) -> bool:
    """Whether the file is a tar (compressed or not) or a zip, by its first bytes."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except _DAMAGE:  # it is compressed, and damaged
        return True


def extract(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    what: str = "",
) -> None:
    """Unpack a `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` or `.zip` into an empty folder.

    Args:
        archive: the file.
        folder: an existing, empty folder; after an error its content is of no use.
        max_bytes: refuse an archive that unpacks to more.
        max_files: refuse an archive with more files.
        what: the archive's name in errors.

    Raises:
        BadInput: it is no archive, is damaged, or holds a member that is refused.
    """
    what = what or f"model archive '{archive}'"
    if not is_archive(archive):
        raise BadInput(what, expected="a .tar.gz or .zip archive", found="something else")
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    count = total = 0
    try:
        for member in members(archive, what):
            target = folder / _inside(member.name, what)
            count, total = count + 1, total + member.size
            if count > max_files or total > max_bytes:
                raise BadInput(
                    what,
                    expected=f"at most {max_files} files and {max_bytes} bytes",
                    found=f"more, at '{member.name}'",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as file:
                _copy(source, file, member, what)
    except FileExistsError as error:
        name = Path(error.filename).relative_to(folder)
        raise BadInput(what, expected="each member once", found=f"'{name}' twice") from None
    except _DAMAGE as error:
        # A full disk is no damage; a place before the file's beginning is.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise BadInput(what, expected="an intact archive", found=f"damage: {error}") from None


def _copy(source: IO[bytes], file: IO[bytes], member: _Member, what: str) -> None:
    # The size in a header can lie, so the bytes that really come are what is bounded.
    left = member.size
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            break
        file.write(chunk)
    if left:
        raise BadInput(
            what, expected=f"{member.size} bytes in '{member.name}'", found="fewer or more"
        )


def _inside(name: str, what: str) -> PurePosixPath:
    path = PurePosixPath(name)
    odd = path.is_absolute() or ".." in path.parts or not path.parts
    if odd or "\\" in name or ":" in path.parts[0] or "\0" in name:
        raise BadInput(what, expected="names below its own folder", found=f"{name!r}")
    return path


def _tar_members(archive: Path, what: str) -> Iterator[_Member]:
    data_filter = getattr(tarfile, "data_filter", None)
    with tarfile.open(archive) as tar:
        for info in tar:
            _inside(info.name, what) if info.name not in (".", "./") else None
            if not (info.isreg() or info.isdir()):
                kind = "a link" if info.issym() or info.islnk() else "a device or another special"
                raise BadInput(
                    what, expected="files and folders only", found=f"{kind}, '{info.name}'"
                )
            if data_filter is not None:
                data_filter(info, "/nowhere")
            if info.isreg():
                yield _Member(info.name, info.size, lambda info=info: _opened(tar, info))  # type: ignore[misc]


def _opened(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"'{info.name}' cannot be read")
    return file


def _zip_members(archive: Path, what: str) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            _inside(info.filename, what)
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise BadInput(
                    what,
                    expected="files and folders only",
                    found=f"a link or device, '{info.filename}'",
                )
            if info.flag_bits & 1:
                raise BadInput(
                    what, expected="no encryption", found=f"'{info.filename}' is encrypted"
                )
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, lambda info=info: zipped.open(info))  # type: ignore[misc]
