"""Files that are no whole TIFF: other formats, cut off, damaged; each is one line to the user."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from typing import IO

from cellmill.compute.faults import fault_of
from cellmill.errors import BadInput, CellmillError
from cellmill.io.suffixes import converted_by, is_of_instrument
from cellmill.io.tiff.codestreams import JPEG_MAGIC, PNG_MAGIC
from cellmill.io.tiff.tags import matters

#: What messages ask for.
WHOLE = "a whole, readable TIFF"

# Classic and BigTIFF, in both byte orders.
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_FORMATS = (
    (PNG_MAGIC, "a PNG image"),
    (JPEG_MAGIC, "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF"),
    (b"<", "a text (a web page or XML)"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)

#: What instruments write that is no TIFF, by where its magic bytes stand, and the usual suffix.
_OF_INSTRUMENTS = (
    (0, b"ZISRAWFILE", "a Zeiss CZI file", ".czi"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file", ".nd2"),
    (0, b"\x70\x00\x00\x00", "a Leica LIF file", ".lif"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE file, such as OIB", ".oib"),
    (128, b"DICM", "a DICOM file", ".dcm"),
)

# What tifffile logs of things that do not matter to the pixels; whatever else it logs does.
_BESIDE_LOG = re.compile(
    r"imagej_metadata> raised|fluoview_metadata|GeoKey|coercing invalid ASCII|GDAL_NODATA"
    r"|(andor|epics|ndpi|nuvu)_tags|eer_xml|read_micromanager_metadata|read_tvips|olympus_ini"
    r"|read_lsm_(timestamps|channelcolors|scaninfo|lookuptable)|STK Datetime|read_uic_tag> reading"
    r"|invalid string|read_json|read_utf8|read_colormap|get_resolution"
    r"|shaped series metadata does not match"
)
_LOGGED_TAG = re.compile(r"TiffTag (\d+)|tag #(\d+)")


@contextlib.contextmanager
def damage_is_bad_input(label: str, expected: str) -> Iterator[None]:
    """Turn whatever a parser or a codec raises on damaged bytes into one line."""
    try:
        yield
    except CellmillError:
        raise
    except Exception as error:
        # Sizes that a damaged file declares take memory; they fill no disk.
        if isinstance(error, OSError) and (fault := fault_of(error)):
            raise fault from error
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
def warnings_are_bad_input(label: str) -> Iterator[None]:
    """Raise what tifffile only logs, before it goes on with fewer pages, tags or pixels.

    Raises:
        BadInput: something was logged in the block that matters to the pixels.
    """
    logger, handler = logging.getLogger("tifffile"), _Collector()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    for text in handler.lines:
        tag = _LOGGED_TAG.search(text)
        if matters(int(tag[1] or tag[2])) if tag else not _BESIDE_LOG.search(text):
            raise BadInput(label, expected=WHOLE, found=_plain(text))


def check_magic(file: IO[bytes], label: str, name: str = "") -> None:
    """Check that a file begins as a TIFF, and is no instrument's format of another kind.

    Args:
        file: a seekable binary file.
        label: how messages call it.
        name: its path or URI.

    Raises:
        BadInput: it is empty or of another kind, which is named where it is a common one, with the
            command that converts it, or the name that it is read by, where one is known.
    """
    file.seek(0)
    head = file.read(132)
    file.seek(0)
    if not head:
        raise BadInput(label, expected="a TIFF", found="an empty file")
    if name.lower().endswith(".vsi"):
        # The TIFF is an overview; the pixels lie in a folder beside it.
        raise _to_convert(label, name, "an Olympus VSI file", ".vsi")
    if head[:4] in _TIFF_MAGIC:
        return
    for at, magic, what, suffix in _OF_INSTRUMENTS:
        if head[at:].startswith(magic):
            raise _to_convert(label, name, what, suffix)
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise BadInput(label, expected="a TIFF", found=what)
    raise BadInput(label, expected="a TIFF", found=f"a file that begins with {head[:8]!r}")


def _to_convert(label: str, name: str, what: str, suffix: str) -> BadInput:
    command = converted_by(name)
    if not command and is_of_instrument(suffix):
        return BadInput(label, expected=f"a TIFF, or a name that ends in {suffix}", found=what)
    command = command or converted_by(f"image{suffix}")
    expected = f"a TIFF or an OME-Zarr, which '{command}' makes of it"
    return BadInput(label, expected=expected, found=what)
