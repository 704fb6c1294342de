"""Files that appear whole or not at all, on local disks and on mounted buckets."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from cellmill.compute.faults import out_of, writing
from cellmill.errors import BadInput

#: Where Vertex AI and Kubeflow mount buckets. They rename no folders and map no memory for writing.
BUCKET_MOUNTS = ("/gcs/", "/s3/", "/minio/")
_SYNCED_AT_ONCE = 16


def is_bucket_mount(path: Path) -> bool:
    """Whether a path lies in an object store behind a file-system mount."""
    return str(path.absolute()).startswith(BUCKET_MOUNTS)


def absolute_place(place: str) -> str:
    """A path or a URI as it is called from any folder, without `..` and a slash at its end."""
    if "://" in place:
        return place.rstrip("/")
    # As it is called: a link is not followed.
    return os.path.abspath(Path(place).expanduser())  # noqa: PTH100


@contextlib.contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """Give a path to fill; it becomes `path` when the block ends without an error.

    On a local disk the file is made beside its name and renamed; for a bucket mount it is made on
    the local disk and copied in one sequential write.

    Raises:
        BadInput: the folder cannot be written.
        MachineFault: the disk is full.
    """
    bucket = is_bucket_mount(path)
    folder = Path(tempfile.gettempdir()) if bucket else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".cellmill-", suffix=".part", dir=folder)
    except OSError as error:
        what = f"output '{path}'"
        raise out_of(error.errno, what) or BadInput(
            what, expected="a place that can be written", found=f"{error}"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
        if bucket:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(temporary, path)
        else:
            # mkstemp makes files private; outputs follow the user's umask like any other file.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_staged(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing; it gets its name when the block ends without an error."""
    with stage_file(path) as temporary, temporary.open("w+b") as file:
        yield file


def sync_files(paths: Iterable[Path]) -> None:
    """Have the disk take files in before anything else is written; folders have none to take in.

    On a bucket mount a file that is closed is in the bucket.
    """

    def sync(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # Side by side: a disk's journal takes them in together.
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as threads:
        there = (path for path in paths if path.is_file() and not is_bucket_mount(path))
        list(threads.map(sync, there))


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file under its name, or nothing."""
    with open_staged(path) as file:
        file.write(text.encode())
