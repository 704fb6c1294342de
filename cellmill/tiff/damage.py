"""Files that are no whole TIFF: other formats, cut off, damaged; each is one line to the user."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from typing import IO

from cellmill.errors import BadInput, CellmillError

#: What messages ask for.
WHOLE = "a whole, readable TIFF"

# Classic and BigTIFF, in both byte orders.
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"ZISRAWFILE", "a Zeiss CZI file"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (b"\x70\x00\x00\x00", "a Leica LIF file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF"),
    (b"<", "a text (a web page or XML)"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)

# What tifffile only logs, and goes on with fewer pages or with zeros.
_FATAL_LOG = re.compile(
    r"invalid (next )?(page )?offset|invalid page|circular|corrupted|missing|out of range"
    r"|suspicious number of tags"
)


@contextlib.contextmanager
def damage_is_bad_input(label: str, expected: str) -> Iterator[None]:
    """Turn whatever a parser or a codec raises on damaged bytes into one line."""
    try:
        yield
    except CellmillError:
        raise
    except Exception as error:
        text = _plain(f"{error}") or "nothing more"
        raise BadInput(label, expected=expected, found=f"{type(error).__name__}: {text}") from error


def _plain(text: str) -> str:
    """Return a log line of tifffile's without the object it names first."""
    return re.sub(r"^<tifffile[^>]*>\s*", "", text)[:200]


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread_ident = threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread_ident:
            self.lines.append(record.getMessage())


@contextlib.contextmanager
def lost_pages_are_bad_input(label: str) -> Iterator[None]:
    """Raise what tifffile only logs: pages that are not there, or directories that are damaged.

    Raises:
        BadInput: something of the kind was logged in the block.
    """
    logger, handler = logging.getLogger("tifffile"), _Collector()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    for text in handler.lines:
        if _FATAL_LOG.search(text):
            raise BadInput(label, expected=WHOLE, found=_plain(text))


def check_magic(file: IO[bytes], label: str) -> None:
    """Check that a file begins as a TIFF.

    Raises:
        BadInput: it is empty or of another kind, which is named where it is a common one.
    """
    file.seek(0)
    head = file.read(32)
    file.seek(0)
    if not head:
        raise BadInput(label, expected="a TIFF", found="an empty file")
    if head[:4] in _TIFF_MAGIC:
        return
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise BadInput(label, expected="a TIFF", found=what)
    raise BadInput(label, expected="a TIFF", found=f"a file that begins with {head[:8]!r}")
