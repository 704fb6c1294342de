"""The files that an OME-TIFF's planes lie in: one, or several beside each other.

A set (a file for each channel, plane or position) is read as far as its files lie beside each
other, in one folder. Whether planes lie in the file at hand is decided so: it has the name that is
given for them; else, it has the UUID; else, one file alone is named, which is this one, renamed
since. Source: the OME-TIFF specification.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import IO

from cellmill.errors import BadInput
from cellmill.io import uris
from cellmill.io.tiff.ome_xml import Block, OmeDocument, is_ome_xml
from cellmill.io.tiff.opened import OpenTiff

_OPEN_FILES = 64
_HEAD = 4096
_LARGEST_XML = 1 << 28
#: What is said of planes for which no file is named.
_UNNAMED = ("", "")


class FileSet:
    """The files that an OME-TIFF's planes lie in: one that is open, and those beside it.

    Args:
        document: what the OME-XML says.
        own: the file that is open; None where the OME-XML is a file of its own.
        uri: of the file that was named.
        stack: closes what is opened.

    Raises:
        BadInput: which of several named files this one is cannot be told.
    """

    def __init__(
        self, document: OmeDocument, own: OpenTiff | None, uri: str, stack: contextlib.ExitStack
    ) -> None:
        self.own, self._uri = own, uri
        self.label = own.label if own is not None else f"image '{uri}'"
        self._own_keys = _keys_of_own(document, own) if own is not None else frozenset()
        self._opened: OrderedDict[str, tuple[contextlib.ExitStack, OpenTiff]] = OrderedDict()
        stack.callback(self._close)
        self._there: dict[str, bool] = {}

    def is_own(self, block: Block) -> bool:
        """Whether planes lie in the file that is open."""
        return (block.file, block.uuid) in self._own_keys

    def is_there(self, block: Block) -> bool:
        """Whether the file that planes lie in is there."""
        if self.is_own(block):
            return True
        if block.file not in self._there:
            # Only a file beside this one is meant: no path that leads elsewhere.
            plain = bool(block.file) and not set(block.file) & set("/\\\0")
            place = uris.beside(self._uri, block.file) if plain else ""
            self._there[block.file] = bool(place) and uris.exists(place)
        return self._there[block.file]

    def file(self, block: Block) -> OpenTiff:
        """Return the file that planes lie in.

        Raises:
            BadInput: it is not there, no TIFF, or damaged.
        """
        if self.own is not None and self.is_own(block):
            return self.own
        if not self.is_there(block):
            raise BadInput(
                self.label,
                expected=f"the file '{block.file}' beside it, in which its OME-XML says planes lie",
                found="nothing there",
            )
        if block.file in self._opened:
            self._opened.move_to_end(block.file)
            return self._opened[block.file][1]
        place = uris.beside(self._uri, block.file)
        stack = contextlib.ExitStack()
        opened = OpenTiff(stack.enter_context(uris.open_uri(place)), place, f"image '{place}'")
        self._opened[block.file] = stack, opened
        if len(self._opened) > _OPEN_FILES:
            self._opened.popitem(last=False)[1][0].close()
        return opened

    def _close(self) -> None:
        while self._opened:
            self._opened.popitem()[1][0].close()


def companion_xml(file: IO[bytes]) -> str:
    """Return the OME-XML that a file consists of (`….companion.ome`); empty if it is another."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return ""
    if not is_ome_xml(head.decode(errors="replace")):
        return ""
    return file.read(_LARGEST_XML).decode(errors="replace")


def read_companion(uri: str, name: str, label: str) -> str:
    """Read the OME-XML that lies beside a file.

    Args:
        uri: of the file.
        name: of the OME-XML's.
        label: how messages call the image.

    Raises:
        BadInput: it is not there, or no OME-XML.
    """
    wanted = f"the file '{name}' beside it, which has its metadata"
    place = "" if set(name) & set("/\\\0") else uris.beside(uri, name)
    if not place or not uris.exists(place):
        raise BadInput(label, expected=wanted, found="nothing there")
    with uris.open_uri(place) as file:
        text = companion_xml(file)
    if not text:
        raise BadInput(label, expected=wanted, found="no OME-XML in it")
    return text


def _keys_of_own(document: OmeDocument, own: OpenTiff) -> frozenset[tuple[str, str]]:
    """Return the (name, UUID) by which OME-XML calls the file that is open."""
    keys = {(block.file, block.uuid) for image in document.images for block in image.blocks}
    nameless = _UNNAMED in keys
    keys.discard(_UNNAMED)
    found = {key for key in keys if key[0].casefold() == own.name.casefold()}
    found = found or {key for key in keys if key[1] and key[1] == document.uuid}
    found = found or (keys if len(keys) == 1 else set())
    if keys and not found and not nameless:
        names = sorted({name for name, _ in keys})
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise BadInput(
            own.label,
            expected=f"the name that its OME-XML knows it by ({listed}), for it is one of a set",
            found=f"'{own.name}'; give it that name again",
        )
    return frozenset({*found, _UNNAMED})
