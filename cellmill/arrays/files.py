"""Files that appear whole or not at all, on local disks and on mounted buckets."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cellmill.errors import BadInput

#: Where Vertex AI and Kubeflow mount buckets. They rename no folders and map no memory for writing.
BUCKET_MOUNTS = ("/gcs/", "/s3/", "/minio/")


def is_bucket_mount(path: Path) -> bool:
    """Whether a path lies in an object store behind a file-system mount."""
    return str(path.absolute()).startswith(BUCKET_MOUNTS)


def absolute_place(place: str) -> str:
    """A path or a URI as it is called from any folder, without a slash at its end."""
    if "://" in place:
        return place.rstrip("/")
    return str(Path(place).expanduser().absolute())


@contextlib.contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """Give a path to fill; it becomes ``path`` when the block ends without an error.

    On a local disk the file is made beside its name and renamed; for a bucket mount it is made on
    the local disk and copied in one sequential write.

    Raises:
        BadInput: the folder cannot be written.
    """
    bucket = is_bucket_mount(path)
    folder = Path(tempfile.gettempdir()) if bucket else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".cellmill-", suffix=".part", dir=folder)
    except OSError as error:
        raise BadInput(
            f"output '{path}'", expected="a place that can be written", found=f"{error}"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
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


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file under its name, or nothing."""
    with open_staged(path) as file:
        file.write(text.encode())
