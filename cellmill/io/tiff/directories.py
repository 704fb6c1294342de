"""A TIFF's directories, read strictly: what cannot be read is refused, never left out.

tifffile logs a tag that it cannot read and goes on without it, as if the file had none; and it
believes the counts that a file declares. So the directories are walked here first: no pixel, and
no value but those asked for, is read. Sources: TIFF 6.0; BigTIFF; Hamamatsu's NDPI (64-bit offsets
in a classic TIFF), as tifffile documents it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from cellmill.errors import BadInput
from cellmill.io.tiff.damage import WHOLE
from cellmill.io.tiff.tags import is_contradicted_by_another, matters, tag_name

#: More pages are in no file that cells are found in, and take long to walk.
MOST_PAGES = 1 << 20
#: Halved so many times, the largest of images is a pixel.
MOST_SUBIFDS = 64
#: A tag's value that is larger is no text that says what the pixels are.
_LARGEST_VALUE = 1 << 28
_MOST_TAGS = 4096
#: Tags that say how a page is stored, and those that say where.
_STORAGE = frozenset(
    {256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 338, 339, 530, 32997, 32998}
)
_PLACES = frozenset({273, 279, 324, 325})
_SMALL_VALUE = 64
#: By TIFF's number of a type: what struct calls it.
_TYPES: Mapping[int, str] = {
    1: "B",
    2: "c",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "c",
    8: "h",
    9: "i",
    10: "ii",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
# Bytes are none: tifffile reads them as text.
_INTEGERS = frozenset({3, 4, 8, 9, 13, 16, 17, 18})


@dataclass(frozen=True)
class Entry:
    """One tag of a directory.

    Attributes:
        code: the tag's number.
        kind: number of its values' type.
        count: of values.
        at: where in the file they begin.
    """

    code: int
    kind: int
    count: int
    at: int


@dataclass(frozen=True)
class Directory:
    """The tags of one page.

    Attributes:
        offset: where in the file it begins.
        page: how messages call its page.
        entries: by code.
        unreadable: names of tags that do not matter to the pixels and cannot be read.
    """

    offset: int
    page: str
    entries: Mapping[int, Entry]
    unreadable: tuple[str, ...] = ()


def is_integer(entry: Entry) -> bool:
    """Whether a tag's values are whole numbers."""
    return entry.kind in _INTEGERS


class Directories:
    """The directories of an open TIFF.

    Args:
        file: a seekable binary file that begins as a TIFF.
        label: how messages call it.
        ndpi: whether it is one of Hamamatsu's, whose offsets have 64 bits.

    Attributes:
        offsets: where the directories of its pages begin, in their order.

    Raises:
        BadInput: it is cut off, its directories run in a circle, or are more than can be.
    """

    def __init__(self, file: IO[bytes], label: str, *, ndpi: bool = False) -> None:
        self._file, self._label = file, label
        file.seek(0, 2)
        self.size = file.tell()
        head = self._read(0, 16)
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = struct.unpack_from(f"{self._order}H", head, 2)[0] == 43
        self._ndpi = ndpi and not self._big
        if self._big and struct.unpack_from(f"{self._order}HH", head, 4) != (8, 0):
            raise self._damaged("a BigTIFF of another offset size")
        self._offset_format = self._order + ("Q" if self._big or self._ndpi else "I")
        first = 8 if self._big else 4
        if len(head) < first + struct.calcsize(self._offset_format):
            raise self._damaged("its header is cut off")
        self.offsets = self._walk(struct.unpack_from(self._offset_format, head, first)[0])

    def directory(self, offset: int, page: str) -> Directory:
        """Read the tags of a page.

        Args:
            offset: where its directory begins.
            page: how messages call it: `page 1`.

        Raises:
            BadInput: a tag that says what the pixels are cannot be read.
        """
        count, content = self._tags(offset, page)
        size = self._tag_size
        high = self._high_bytes(offset, count)
        entries: dict[int, Entry] = {}
        unreadable = []
        for number in range(count):
            where = number * size
            code, kind = struct.unpack_from(f"{self._order}HH", content, where)
            form = self._order + ("Q" if self._big else "I")
            length = struct.unpack_from(form, content, where + 4)[0]
            item = struct.calcsize(f"={_TYPES[kind]}") if kind in _TYPES else 0
            inline = 8 if self._big else 4
            at = self._first_tag(offset) + where + 4 + inline
            if item * length > inline:
                at = struct.unpack_from(form, content, where + 4 + inline)[0]
                at |= high.get(number, 0) << 32
            trouble = ""
            if not item:
                trouble = f"type {kind}"
            elif at + item * length > self.size:
                trouble = f"{length} values from byte {at} on, in a file of {self.size} bytes"
            elif item * length > _LARGEST_VALUE:
                trouble = f"{length} values"
            elif code in entries and is_contradicted_by_another(code):
                trouble = "it twice"
            if trouble and not matters(code):
                unreadable.append(tag_name(code))
                continue
            if trouble:
                raise BadInput(
                    self._label,
                    expected=f"{tag_name(code)} that can be read on {page}",
                    found=trouble,
                )
            entries.setdefault(code, Entry(code, kind, length, at))
        return Directory(offset, page, entries, tuple(unreadable))

    def key(self, offset: int, page: str) -> bytes:
        """Return what pages that are stored alike have in common, quickly.

        Raises:
            BadInput: the directory is cut off.
        """
        count, content = self._tags(offset, page)
        form, inline = self._order + ("Q" if self._big else "I"), 8 if self._big else 4
        parts = []
        for where in range(0, count * self._tag_size, self._tag_size):
            entry = content[where : where + self._tag_size]
            code, kind = struct.unpack_from(f"{self._order}HH", entry)
            if code in _PLACES:
                # Where strips lie, and how long they are, differs; how many there are does not.
                parts.append(entry[:-inline])
            elif code in _STORAGE:
                length, at = struct.unpack_from(f"{form}{form[1]}", entry, 4)
                size = struct.calcsize(f"={_TYPES.get(kind, 'B')}") * length
                small = inline < size <= _SMALL_VALUE
                parts.append(entry[:-inline] + self._read(at, size) if small else entry)
        return b"".join(parts)

    def has(self, offset: int, page: str, code: int) -> bool:
        """Whether a directory has a tag."""
        count, content = self._tags(offset, page)
        codes = (
            struct.unpack_from(f"{self._order}H", content, number * self._tag_size)[0]
            for number in range(count)
        )
        return code in codes

    def integers(self, directory: Directory, code: int) -> tuple[int, ...]:
        """Return the values of a tag that counts something; none where there is no such tag.

        Raises:
            BadInput: they are no whole numbers from 0 on.
        """
        entry = directory.entries.get(code)
        if entry is None:
            return ()
        if not is_integer(entry):
            raise self._wrong(directory, code, "whole numbers", f"values of type {entry.kind}")
        form = _TYPES[entry.kind]
        content = self._read(entry.at, struct.calcsize(f"={form}") * entry.count)
        values = struct.unpack(f"{self._order}{entry.count}{form}", content)
        if not values or min(values) < 0:
            found = f"{min(values)}" if values else "no value"
            raise self._wrong(directory, code, "whole numbers from 0 on", found)
        return values

    def text(self, directory: Directory, code: int) -> str:
        """Return the text of a tag; empty where there is no such tag."""
        entry = directory.entries.get(code)
        if entry is None:
            return ""
        size = struct.calcsize(f"={_TYPES[entry.kind]}") * entry.count
        return self._read(entry.at, size).split(b"\0", 1)[0].decode(errors="replace")

    def _wrong(self, directory: Directory, code: int, expected: str, found: str) -> BadInput:
        what = f"{tag_name(code)} of {expected} on {directory.page}"
        return BadInput(self._label, expected=what, found=found)

    def _damaged(self, found: str) -> BadInput:
        return BadInput(self._label, expected=WHOLE, found=found)

    @property
    def _tag_size(self) -> int:
        return 20 if self._big else 12

    def _first_tag(self, offset: int) -> int:
        return offset + (8 if self._big else 2)

    def _read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)

    def _tags(self, offset: int, page: str) -> tuple[int, bytes]:
        """Return how many tags a directory has, and their bytes."""
        head = self._first_tag(0)
        # Most directories are not longer, so that one read is enough.
        content = self._read(offset, 512)
        if len(content) < head:
            raise self._damaged(f"the file cut off before {page}")
        count = struct.unpack_from(f"{self._order}{'Q' if self._big else 'H'}", content)[0]
        if count > _MOST_TAGS:
            raise self._damaged(f"{count} tags on {page}")
        end = head + count * self._tag_size
        if len(content) < end:
            content += self._read(offset + len(content), end - len(content))
        if len(content) < end:
            raise self._damaged(f"the file cut off within the tags of {page}")
        return count, content[head:end]

    def _high_bytes(self, offset: int, count: int) -> dict[int, int]:
        """Return the upper halves of an NDPI's offsets, which follow its directory."""
        if not self._ndpi:
            return {}
        content = self._read(self._first_tag(offset) + count * 12 + 8, 4 * count)
        return dict(enumerate(struct.unpack(f"{self._order}{len(content) // 4}I", content)))

    def _walk(self, offset: int) -> list[int]:
        """Follow the chain of pages."""
        offsets: list[int] = []
        seen: set[int] = set()
        while offset:
            page = f"page {len(offsets) + 1}"
            if offset < 8 or offset >= self.size:
                raise self._damaged(
                    f"{page} said to be at byte {offset}, in a file of {self.size} bytes"
                )
            if offset in seen:
                raise self._damaged(f"pages in a circle: {page} is an earlier one")
            if len(offsets) == MOST_PAGES:
                raise self._damaged(f"more than {MOST_PAGES} pages")
            offsets.append(offset)
            seen.add(offset)
            count, _ = self._tags(offset, page)
            place = self._first_tag(offset) + count * self._tag_size
            width = struct.calcsize(self._offset_format)
            following = self._read(place, width)
            if len(following) < width:
                raise self._damaged(f"the file cut off after the tags of {page}")
            offset = struct.unpack(self._offset_format, following)[0]
        return offsets
