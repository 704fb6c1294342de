"""What instruments and their programs say in tags of their own: pixel size and channel names.

Sources: Akoya's QPTIFF file format (`PerkinElmer-QPI-ImageDescription`); Aperio's SVS (`MPP =` in
the description); Zeiss's LSM (CZ_LSMINFO: voxel sizes in metres, names of channel colours); Leica's
SCN (XML: extent of a view in nanometres, channel settings); Hamamatsu's NDPI (tag 65434 of
fluorescence); Micro-Manager's file format (`Summary` and tag 51123 of each page); TIFF 6.0 (tag
PageName).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import tifffile

from cellmill.io.tiff.levels import Level, Series
from cellmill.io.tiff.opened import OpenTiff
from cellmill.io.tiff.pixel_size import UNKNOWN, PixelSize, checked_size, number

_DESCRIPTION, _PAGE_NAME = 270, 285
_LSM, _MICRO_MANAGER, _NDPI_FLUORESCENCE = 34412, 51123, 65434
#: Pages that are named one by one; of more, none is looked for.
_MOST_NAMED = 1 << 12


def size_by_vendor(opened: OpenTiff, series: Series, level: Level) -> PixelSize:
    """Return the pixel size of an image as its instrument's own tags give it.

    Args:
        opened: the file.
        series: the image.
        level: its full resolution.
    """
    if series.kind == "svs":
        return _size_of_svs(_text(opened, level, 0, _DESCRIPTION))
    if series.kind == "lsm":
        lsm = _lsm(opened)
        x, y, z = (float(lsm.get(f"VoxelSize{axis}", 0)) * 1e6 for axis in "XYZ")
        return checked_size(y, x, "LSM", z=z) if x or y else UNKNOWN
    if series.kind == "scn":
        return _size_of_scn(_scn_image(opened, series))
    if _is_micro_manager(opened):
        return _size_of_micro_manager(opened, level)
    return UNKNOWN


def names_by_vendor(
    opened: OpenTiff, series: Series, level: Level, pages: Sequence[int]
) -> tuple[str, list[str]]:
    """Return who names channels in tags of their own, and the names; empty where nobody does.

    Args:
        opened: the file.
        series: the image.
        level: its full resolution.
        pages: of the level, by channel.
    """
    if series.kind == "qpi" and len(pages) <= _MOST_NAMED:
        texts = [_text(opened, level, page, _DESCRIPTION) for page in pages]
        found = [_name_of_qpi(text) for text in texts]
        named = [name or f"{i}" for i, name in enumerate(found)] if any(found) else []
        return "QPTIFF", named
    if series.kind == "lsm":
        colours = _lsm(opened).get("ChannelColors") or {}
        return "LSM", [f"{name}".strip() for name in colours.get("ColorNames") or ()]
    if series.kind == "scn":
        image = _scn_image(opened, series)
        settings = _below(image, "channelSettings") if image is not None else ()
        channels = [each for group in settings for each in _below(group, "channel")]
        channels.sort(key=lambda each: number(each.get("index", "0")))
        return "SCN", [each.get("name", "").split("|")[0].strip() for each in channels]
    if series.kind == "ndpi":
        name = _text(opened, level, 0, _NDPI_FLUORESCENCE).strip()
        return "NDPI", [name] if name else []
    if _is_micro_manager(opened):
        # Of a set of files, some of which may not be there, no page is asked for its name.
        return "Micro-Manager", _names_of_micro_manager(opened, level, () if series.ome else pages)
    return "", []


def page_names(opened: OpenTiff, level: Level, pages: Sequence[int]) -> tuple[str, ...]:
    """Return what the pages of several channels are called; `()` where any of them has no name.

    One name for all is that of a file, not of a channel.
    """
    if not 1 < len(pages) <= _MOST_NAMED or not _text(opened, level, pages[0], _PAGE_NAME):
        return ()
    names = [_text(opened, level, page, _PAGE_NAME).strip() for page in pages]
    return tuple(names) if all(names) and len(set(names)) > 1 else ()


def _text(opened: OpenTiff, level: Level, page: int, code: int) -> str:
    """Return the text of a page's tag; empty where there is none."""
    # Planes in a row have one directory.
    found = level.keyframe if level.start is not None else level.page(page)
    if not found.offset:
        return ""
    directory = opened.directories.directory(found.offset, f"page {found.index + 1}")
    return opened.directories.text(directory, code)


def _xml(text: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(text.strip())
    except (ElementTree.ParseError, ValueError):
        return None


def _below(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of a name below another, in any namespace."""
    return (each for each in element.iter() if each.tag.rsplit("}", 1)[-1] == tag)


def _name_of_qpi(description: str) -> str:
    """The marker, else the name of the filter."""
    root = _xml(description)
    for tag in ("Biomarker", "Name"):
        text = root.findtext(tag) if root is not None else ""
        if text and text.strip():
            return text.strip()
    return ""


def _size_of_svs(description: str) -> PixelSize:
    found = re.search(r"\|\s*MPP\s*=\s*([^|]+)", description)
    if not found:
        return UNKNOWN
    size = number(found[1].strip().replace(",", "."))
    return checked_size(size, size, "Aperio")


def _lsm(opened: OpenTiff) -> Mapping[str, Any]:
    return opened.tif.pages.first.tags.valueof(_LSM) or {}


def _scn_image(opened: OpenTiff, series: Series) -> ElementTree.Element | None:
    """Return what a Leica's XML says of an image, which is found by its name and size."""
    root = _xml(opened.description)
    for image in _below(root, "image") if root is not None else ():
        pixels = next(_below(image, "pixels"), None)
        if pixels is None or image.get("name", "Unknown") != series.name:
            continue
        if (pixels.get("sizeY"), pixels.get("sizeX")) == tuple(map(str, series.page_size)):
            return image
    return None


def _size_of_scn(image: ElementTree.Element | None) -> PixelSize:
    pixels = next(_below(image, "pixels"), None) if image is not None else None
    view = next(_below(image, "view"), None) if image is not None else None
    if pixels is None or view is None:
        return UNKNOWN
    y, x = (
        number(view.get(side, "")) / number(pixels.get(side, "")) / 1000
        for side in ("sizeY", "sizeX")
    )
    return checked_size(y, x, "Leica SCN")


def _is_micro_manager(opened: OpenTiff) -> bool:
    return _MICRO_MANAGER in opened.first.entries


def _summary(opened: OpenTiff) -> Mapping[str, Any]:
    """Return what Micro-Manager says of a stack at the file's beginning; images have nothing."""
    try:
        said = tifffile.read_micromanager_metadata(opened.tif.filehandle, {"Summary"})
    except (ValueError, TypeError, KeyError, struct.error, OSError):
        return {}
    found = said.get("Summary")
    return found if isinstance(found, dict) else {}


def _said_of_page(opened: OpenTiff, level: Level, page: int) -> Mapping[str, Any]:
    """Return what Micro-Manager says of a page."""
    try:
        found = json.loads(_text(opened, level, page, _MICRO_MANAGER).strip() or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _size_of_micro_manager(opened: OpenTiff, level: Level) -> PixelSize:
    given = _summary(opened).get("PixelSize_um") or _said_of_page(opened, level, 0).get(
        "PixelSizeUm"
    )
    # 0 is written where no calibration was chosen.
    size = number(f"{given or 0}")
    step = number(f"{_summary(opened).get('z-step_um') or 0}")
    return checked_size(size, size, "Micro-Manager", z=abs(step)) if size else UNKNOWN


def _names_of_micro_manager(opened: OpenTiff, level: Level, pages: Sequence[int]) -> list[str]:
    names = _summary(opened).get("ChNames")
    if isinstance(names, list) and names:
        return [f"{name}" for name in names]
    if len(pages) > _MOST_NAMED:
        return []
    found = [str(_said_of_page(opened, level, page).get("Channel") or "") for page in pages]
    return found if all(found) else []
