"""What a machine refuses, in one line: room on a disk, memory, permission, depth of recursion."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cellmill.errors import MachineFault

#: What a disk or a system has run out of: what was expected of it, and what was found.
_OUT_OF = {
    errno.ENOSPC: ("room for what is written", "a full disk"),
    errno.EDQUOT: ("room for what is written", "the user's quota used up"),
    errno.EFBIG: ("room for what is written", "a file larger than may be written (ulimit -f)"),
    errno.EMFILE: ("to open one more file", "as many open as may be (ulimit -n)"),
    errno.ENFILE: ("to open one more file", "as many open as the system bears"),
    errno.EIO: ("a disk that can be read and written", "an input/output error"),
    errno.ESTALE: ("a disk that can be read and written", "a file that its server has lost"),
}
#: What it does not allow.
_NOT_ALLOWED = {
    errno.EROFS: ("a disk that can be written", "a read-only one"),
    errno.EACCES: ("permission", "none"),
    errno.EPERM: ("permission", "none"),
}
#: Bytes that are left to others.
_SPARE_BYTES = 1 << 24
_NO_THREAD = "can't start new thread"


def fault_of(error: BaseException) -> MachineFault | None:
    """What a machine refused, if that is what an error says; None for any other.

    Args:
        error: as it was raised.
    """
    if isinstance(error, MachineFault):
        return error
    if isinstance(error, RecursionError):
        return MachineFault(
            "recursion", expected="data that is nested less deeply", found=f"{error}"
        )
    memory = isinstance(error, MemoryError) or _NO_THREAD in str(error)
    if memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        about = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        free = memory_available()
        said = f" ({free >> 20} MiB are available)" if free else ""
        return MachineFault(
            "memory", expected="enough for this stage (see memory_mib)", found=about + said
        )
    if isinstance(error, OSError) and error.errno in _OUT_OF | _NOT_ALLOWED:
        expected, found = (_OUT_OF | _NOT_ALLOWED)[error.errno]
        names = [os.fsdecode(name) for name in (error.filename2, error.filename) if name]
        return MachineFault(
            f"'{names[0]}'" if names and isinstance(names[0], str) else "disk",
            expected=expected,
            found=found,
        )
    return None


def out_of(code: int | None, what: str) -> MachineFault | None:
    """What a system's error number says that the machine has run out of; None for any other.

    Args:
        code: the number.
        what: the file, folder or store that it is about, as the user knows it.
    """
    if code not in _OUT_OF:
        return None
    expected, found = _OUT_OF[code]
    return MachineFault(what, expected=expected, found=found)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name a file in the errors of the block that say that there is no room to write."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and error.filename is None:
            error.filename = str(path)
        raise


def free_bytes(place: Path) -> int:
    """How much may be written to a place, which need not be there yet."""
    return _usage(place).free - _SPARE_BYTES


def check_room(place: Path, needed: int, what: str = "") -> None:
    """Ask a disk for room before something large is written.

    Args:
        place: a file or folder, which need not be there yet.
        needed: bytes.
        what: they are, for the line.

    Raises:
        MachineFault: there is less; the line says how much is needed and how much is free.
    """
    free = free_bytes(place) if needed > _SPARE_BYTES else _usage(place).free
    if needed > free:
        raise MachineFault(
            f"'{place}'",
            expected=f"room for {shown(needed)}{f', {what}' if what else ''}",
            found=f"{shown(free)} free",
        )


def fits_disk(place: Path, needed: int) -> bool:
    """Whether the disk of a place could hold so many bytes if it were empty."""
    return needed <= _usage(place).total


def shown(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{max(count, 0) / 1e9:.1f} GB" if count >= 1e8 else f"{max(count, 0) / 1e6:.1f} MB"


def reserve(handle: int, size: int) -> None:
    """Give an open file a size, and room for all of it, so that a mapped write cannot fail.

    Raises:
        OSError: there is no room.
    """
    os.ftruncate(handle, size)
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            # Some file systems cannot say so beforehand.
            if error.errno in _OUT_OF:
                raise


def memory_available() -> int:
    """Bytes of memory that this machine could still give; 0 where that is unknown."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")) * 1024
    return 0


def _usage(place: Path) -> shutil._ntuple_diskusage:
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place)
