"""An open TIFF: its directories, read strictly, and tifffile's view of its pages."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import PurePosixPath
from typing import IO

import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.damage import (
    WHOLE,
    check_magic,
    damage_is_bad_input,
    warnings_are_bad_input,
)
from cellmill.io.tiff.directories import Directories, Directory
from cellmill.io.tiff.structure import Structure, read_structure

_DESCRIPTION = 270
_KEPT_PAGES = 64
#: Pages that tifffile looks at to find out who wrote a file.
_LOOKED_AT_FIRST = 2
Page = tifffile.TiffPage | tifffile.TiffFrame


class OpenTiff:
    """A TIFF whose first page and whose chain of pages were found in order.

    Args:
        file: a seekable binary file; the caller closes it.
        name: its path or URI.
        label: how messages call it.

    Attributes:
        name: the file's name, without its folder.
        directories: of its pages.
        first: of its first page.
        description: text of the first page's ImageDescription.
        tif: tifffile's view of it.

    Raises:
        BadInput: it is no TIFF, damaged or cut off, or a tag of its first page cannot be read.
    """

    def __init__(self, file: IO[bytes], name: str, label: str) -> None:
        check_magic(file, label, name)
        self.label = label
        self.name = PurePosixPath(name.rstrip("/").replace("\\", "/")).name
        ndpi = self.name.lower().endswith(".ndpi")
        with damage_is_bad_input(label, WHOLE):
            self.directories = Directories(file, label, ndpi=ndpi)
        if not self.directories.offsets:
            raise BadInput(label, expected=WHOLE, found="no image in it")
        self.first = self.directory(0)
        for index in range(min(_LOOKED_AT_FIRST, len(self))):
            self.structure_at(self.directories.offsets[index], f"page {index + 1}")
        self.description = self.directories.text(self.first, _DESCRIPTION)
        file.seek(0)
        with damage_is_bad_input(label, WHOLE), warnings_are_bad_input(label):
            # What OME-XML and Micro-Manager's index say is read here, not by tifffile.
            self.tif = tifffile.TiffFile(
                file, name=self.name, _multifile=False, is_ome=False, is_mmstack=False
            )
        self._pages: OrderedDict[int, tifffile.TiffPage] = OrderedDict()

    def __len__(self) -> int:
        """Number of pages."""
        return len(self.directories.offsets)

    def directory(self, index: int) -> Directory:
        """Return the tags of a page, counted from 0.

        Raises:
            BadInput: one that matters to the pixels cannot be read.
        """
        with damage_is_bad_input(self.label, WHOLE):
            offset = self.directories.offsets[index]
            return self.directories.directory(offset, f"page {index + 1}")

    def page(self, index: int) -> tifffile.TiffPage:
        """Return a page, counted from 0.

        Raises:
            BadInput: there are not so many, or its tags cannot be read.
        """
        if index >= len(self):
            raise BadInput(self.label, expected=f"at least {index + 1} pages", found=f"{len(self)}")
        return self.page_at(self.directories.offsets[index], index)

    def page_at(self, offset: int, index: int) -> tifffile.TiffPage:
        """Return the page whose directory begins at an offset.

        Args:
            offset: of a page, or of one of a page's SubIFDs.
            index: of the page.

        Raises:
            BadInput: its tags cannot be read.
        """
        if offset in self._pages:
            self._pages.move_to_end(offset)
            return self._pages[offset]
        self.structure_at(offset, f"page {index + 1}")
        with damage_is_bad_input(self.label, WHOLE), warnings_are_bad_input(self.label):
            self.tif.filehandle.seek(offset)
            page = tifffile.TiffPage(self.tif, index)
        self._pages[offset] = page
        if len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)
        return page

    def structure_at(self, offset: int, page: str) -> Structure:
        """Read how the page is stored whose directory begins at an offset.

        Raises:
            BadInput: its tags cannot be read, or contradict each other.
        """
        with damage_is_bad_input(self.label, WHOLE):
            directory = self.directories.directory(offset, page)
            return read_structure(self.directories, directory, self.label)
