"""A stack of sections in TIFF: the pages of one file, or one file a section in a folder."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import OrderedDict
from typing import IO, Any

import numpy as np
import tifffile

from cellmill.errors import BadInput
from cellmill.io.listing import list_uris
from cellmill.io.uris import local_path, open_uri, scheme_of

TIFF_SUFFIXES = (".tif", ".tiff")


def sections_in(uri: str) -> list[str]:
    """The TIFFs in a folder in the order of their names, numbers in these by value; a file itself.

    Args:
        uri: of a file, or of a folder, in a bucket too.
    """
    path = local_path(uri)
    if path is None or not path.is_dir():
        if uri.lower().endswith(TIFF_SUFFIXES):
            return [uri]
        return sorted(_listed(uri), key=_natural) if path is None else []
    names = [str(each) for each in path.iterdir() if each.suffix.lower() in TIFF_SUFFIXES]
    return sorted(names, key=_natural)


def _listed(uri: str) -> list[str]:
    """The TIFFs under a prefix of a bucket; web servers list nothing."""
    if scheme_of(uri) in ("http", "https"):
        return []
    with contextlib.suppress(BadInput):
        return list_uris(f"{uri.rstrip('/')}/", TIFF_SUFFIXES)
    return []


class TiffStack:
    """Sections `(Z, Y, X)`; of those that were read the last are kept.

    Args:
        uri: as messages call it.
        files: its sections in order: one file with all of them, or a file each.
        cache_bytes: how much is kept.

    Raises:
        BadInput: a file cannot be read, is no grey image, or differs from the first in its shape.
    """

    def __init__(self, uri: str, files: list[str], *, cache_bytes: int) -> None:
        self._uri, self._files = uri, files
        self._most = cache_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        with open_uri(files[0]) as file, self._opened(files[0], file) as first:
            page = first.pages[0]
            self._plane = tuple(page.shape)
            self.dtype = np.dtype(page.dtype)
            count = len(first.pages)
        if len(self._plane) != 2:
            raise self._wrong("grey sections (Y, X)", f"a section of shape {self._plane}")
        if len(files) > 1 and count > 1:
            raise self._wrong("files of one section each", f"'{files[0]}' with {count}")
        self._open: tifffile.TiffFile | None = None
        self.shape = (max(count, len(files)), *self._plane)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window, three slices within the shape.

        Raises:
            BadInput: a section cannot be read.
        """
        z, y, x = window
        sections = [self._section(number)[y, x] for number in range(z.start, z.stop)]
        if not sections:
            return np.empty((0, *self._plane), self.dtype)[:, y, x]
        return np.stack(sections)

    def _section(self, number: int) -> np.ndarray:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            if len(self._files) > 1:
                uri = self._files[number]
                with open_uri(uri) as file, self._opened(uri, file) as section:
                    found = self._decoded(section, 0)
            else:
                if self._open is None:
                    self._open = self._opened(self._files[0], open_uri(self._files[0]))
                found = self._decoded(self._open, number)
            self._kept[number] = found
            while len(self._kept) > 1 and len(self._kept) * found.nbytes > self._most:
                self._kept.popitem(last=False)
            return found

    def _opened(self, uri: str, file: IO[bytes]) -> tifffile.TiffFile:
        try:
            return tifffile.TiffFile(file, name=uri)
        except (tifffile.TiffFileError, ValueError) as error:
            raise self._wrong("a TIFF", f"{error}") from error

    def _decoded(self, file: tifffile.TiffFile, number: int) -> np.ndarray:
        try:
            found = np.asarray(file.pages[number].asarray())
        except Exception as error:  # decoders of damaged data raise what they like
            raise self._wrong(f"section {number} readable", f"{error}") from error
        if found.shape != self._plane or found.dtype != self.dtype:
            wanted = f"sections of shape {self._plane}, {self.dtype}"
            raise self._wrong(wanted, f"section {number} of {found.shape}, {found.dtype}")
        return found

    def _wrong(self, expected: str, found: str) -> BadInput:
        return BadInput(f"volume '{self._uri}'", expected=expected, found=found)


def _natural(uri: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", uri.rpartition("/")[2])
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
