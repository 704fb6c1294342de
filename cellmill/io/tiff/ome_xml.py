"""What OME-XML says of images: sizes, channels, and which page of which file holds which plane.

Source: OME schema 2016-06 and the OME-TIFF specification (TiffData, UUID, BinaryOnly).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from cellmill.errors import BadInput

_ROOT = re.compile(r"<(?:\w+:)?OME[\s>]")
#: What is kept of the attributes of Pixels beside sizes.
_PHYSICAL = tuple(f"PhysicalSize{axis}{unit}" for axis in "XYZ" for unit in ("", "Unit"))


class Block(NamedTuple):
    """Neighbouring planes in a file (a TiffData element).

    Attributes:
        ifd: index of the first one's page.
        c: its place along C.
        z: along Z.
        t: along T.
        planes: how many; None: as many as the file has pages from there on.
        file: the name of the file; empty where none is given.
        uuid: of the file; likewise.
    """

    ifd: int
    c: int
    z: int
    t: int
    planes: int | None
    file: str
    uuid: str


class OmeImage(NamedTuple):
    """One image as OME-XML describes it.

    Attributes:
        name: of the image.
        order: of its planes, the fastest axis first: `CZT`.
        sizes: along X, Y, C, Z and T.
        physical: the attributes about pixel size.
        channels: their names (empty where there is none), and the samples of each.
        blocks: of planes.
    """

    name: str
    order: str
    sizes: Mapping[str, int]
    physical: Mapping[str, str]
    channels: tuple[tuple[str, int], ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class OmeDocument:
    """What a file's OME-XML says.

    Attributes:
        uuid: of the file; empty where none is given.
        images: in their order.
        elsewhere: the name of the file that has the metadata, if this one has none (BinaryOnly).
    """

    uuid: str
    images: tuple[OmeImage, ...]
    elsewhere: str = ""


def is_ome_xml(text: str) -> bool:
    """Whether a text is OME-XML."""
    return _ROOT.search(text[:4096]) is not None


def parse_ome_xml(text: str, label: str) -> OmeDocument:
    """Read OME-XML as it comes, keeping what is needed: it may describe many thousand images.

    Args:
        text: of the document.
        label: how messages call the file.

    Raises:
        BadInput: it is damaged.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(text.encode(errors="replace"), True)
    except (expat.ExpatError, ValueError, KeyError) as error:
        found = f"{type(error).__name__}: {error}"
        raise BadInput(label, expected="OME-XML that can be read", found=found) from error
    return OmeDocument(reader.uuid, tuple(reader.images), reader.elsewhere)


@dataclass
class _Reader:
    """Takes the elements of a document in their order."""

    images: list[OmeImage] = field(default_factory=list)
    uuid: str = ""
    elsewhere: str = ""

    def __post_init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._refuse
        self._path: list[str] = []
        self._name = ""
        self._pixels: dict[str, str] | None = None
        self._channels: list[tuple[str, int]] = []
        self._blocks: list[Block] = []
        self._said: dict[str, str] | None = None
        self._file = self._uuid_of_file = ""

    def _refuse(self, *_: object) -> None:
        raise ValueError("an entity declared in it")

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rsplit("}", 1)[-1]
        path = self._path
        path.append(kind)
        depth = len(path)
        if depth == 1:
            self.uuid = attributes.get("UUID", "")
        elif depth == 2 and kind == "BinaryOnly":
            self.elsewhere = attributes.get("MetadataFile", "")
        elif path[1] != "Image":
            return
        elif depth == 2:
            self._name, self._pixels = attributes.get("Name", ""), None
            self._channels, self._blocks = [], []
        elif depth == 3 and kind == "Pixels" and self._pixels is None:
            self._pixels = attributes
        elif depth == 4 and path[2] == "Pixels" and kind == "Channel":
            samples = int(attributes.get("SamplesPerPixel", "1"))
            self._channels.append((attributes.get("Name", ""), samples))
        elif depth == 4 and path[2] == "Pixels" and kind == "TiffData":
            self._said, self._file, self._uuid_of_file = attributes, "", ""
        elif depth == 5 and path[3] == "TiffData" and kind == "UUID":
            self._file = attributes.get("FileName", "")

    def _text(self, text: str) -> None:
        if self._said is not None and self._path[-1] == "UUID":
            self._uuid_of_file += text

    def _end(self, tag: str) -> None:
        depth, kind = len(self._path), self._path.pop()
        if depth == 4 and kind == "TiffData" and self._said is not None:
            self._blocks.append(_block(self._said, self._file, self._uuid_of_file.strip()))
            self._said = None
        elif depth == 2 and kind == "Image" and self._pixels is not None:
            self.images.append(_image(self._name, self._pixels, self._channels, self._blocks))


def _image(
    name: str, pixels: Mapping[str, str], channels: list[tuple[str, int]], blocks: list[Block]
) -> OmeImage:
    order = pixels.get("DimensionOrder", "XYCZT")
    if sorted(order) != sorted("XYCZT") or order[:2] != "XY":
        raise ValueError(f"DimensionOrder {order}")
    sizes = {axis: int(pixels[f"Size{axis}"]) for axis in "XYCZT"}
    if min(sizes.values()) < 1:
        raise ValueError(f"a size of {min(sizes.values())}")
    physical = {key: pixels[key] for key in _PHYSICAL if key in pixels}
    return OmeImage(name, order[2:], sizes, physical, tuple(channels), tuple(blocks))


def _block(said: Mapping[str, str], file: str, uuid: str) -> Block:
    get = said.get
    ifd = int(get("IFD", "0"))
    c, z, t = int(get("FirstC", "0")), int(get("FirstZ", "0")), int(get("FirstT", "0"))
    count = int(get("PlaneCount") or get("NumPlanes") or ("1" if "IFD" in said else "0"))
    if min(ifd, c, z, t, count) < 0:
        raise ValueError("a negative number in TiffData")
    # Zero of them would say nothing: it is written for "all".
    return Block(ifd, c, z, t, count or None, file, uuid)
