"""What a TIFF says of itself beside its pixels: pixel size and channel names.

Sources: TIFF 6.0; OME schema 2016-06 (`Pixels/@PhysicalSizeX`, `Channel/@Name`); ImageJ's
`ij.io.TiffEncoder` format (`unit=` and `spacing=` in the description, resolution in pixels per
unit, slice labels); MetaMorph's `<MetaData>` XML (`spatial-calibration-*`); tifffile's JSON
description. What instruments write in tags of their own is read in `vendors`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import tifffile

from cellmill.io.tiff.levels import Level, Series
from cellmill.io.tiff.ome_xml import OmeImage
from cellmill.io.tiff.opened import OpenTiff
from cellmill.io.tiff.pixel_size import (
    UNKNOWN,
    PixelSize,
    checked_size,
    microns_per,
    number,
    unescaped,
)
from cellmill.io.tiff.vendors import names_by_vendor, page_names, size_by_vendor

#: A resolution tag that makes a pixel larger than this is about paper: 2400 dots per inch, the
#: finest of the printers' defaults (72, 96, 150, 300, 600 …), is 10.6 µm; cells need less than 10.
LARGEST_PIXEL = 10.0
_ORIENTATION = 274


def pixel_size(opened: OpenTiff | None, series: Series, level: Level) -> PixelSize:
    """Return the pixel size of one image of a TIFF, from the most telling place that has it.

    The order is OME-XML, what the instrument's own tags say, ImageJ, MetaMorph, tifffile's JSON,
    the resolution tags. Where an ImageJ file has a unit, its resolution tags are in that unit and
    are not asked again.

    Args:
        opened: the file; None where OME-XML is a file of its own.
        series: the image.
        level: its full resolution.

    Returns:
        The size; its remark tells what the file says elsewhere and was not understood, too.
    """
    remarks = []
    for found in _sizes(opened, series, level):
        if found.remark:
            remarks.append(found.remark)
        if found.mpp is not None:
            return replace(found, remark="; ".join(remarks))
    return PixelSize(None, "unknown", "; ".join(remarks))


def _sizes(opened: OpenTiff | None, series: Series, level: Level) -> Iterator[PixelSize]:
    """Yield what each place says, the most telling first."""
    page = level.keyframe
    yield from_ome(series.ome)
    if opened is not None:
        yield size_by_vendor(opened, series, level)
    metadata = imagej_metadata(opened)
    if metadata is not None:
        yield from_imagej(metadata, *_resolution(page)[:2])
    if page.description.lstrip().startswith("<MetaData>"):
        yield from_metamorph(page.description)
    if series.kind == "shaped":
        yield _from_attributes(_shaped_metadata(opened), "the description")
    if not (metadata or {}).get("unit"):
        yield from_resolution(*_resolution(page))


def imagej_metadata(opened: OpenTiff | None) -> Mapping[str, Any] | None:
    """Return what ImageJ says of a file; None where ImageJ did not write it."""
    if opened is None or not opened.tif.is_imagej:
        return None
    return opened.tif.imagej_metadata or {}


def from_ome(image: OmeImage | None) -> PixelSize:
    """Read the pixel size from OME-XML; a size without a unit is in µm.

    Where it gives one side of a pixel only, pixels are taken as square, with a remark.
    """
    return UNKNOWN if image is None else _from_attributes(image.physical, "OME-XML")


def _from_attributes(given: Mapping[str, Any], source: str) -> PixelSize:
    """Read `PhysicalSizeX`, `PhysicalSizeY` and their units, as OME calls them."""
    sizes: dict[str, float] = {}
    for axis in "YX":
        text = given.get(f"PhysicalSize{axis}", "")
        unit = str(given.get(f"PhysicalSize{axis}Unit") or "µm")
        if text in ("", None):
            continue
        scale = microns_per(unit)
        if scale is None:
            return PixelSize(None, "unknown", f"{source} gives the pixel size in '{unit}'")
        sizes[axis] = number(str(text)) * scale
    if not sizes:
        return UNKNOWN
    remark = ""
    if len(sizes) == 1:
        ((axis, size),) = sizes.items()
        remark = f"{source} gives PhysicalSize{axis} alone: pixels of {size:g} × {size:g} µm taken"
        sizes = {"Y": size, "X": size}
    z = number(str(given.get("PhysicalSizeZ") or ""))
    scale = microns_per(str(given.get("PhysicalSizeZUnit") or "µm"))
    return checked_size(sizes["Y"], sizes["X"], source, remark, z * scale if scale else math.nan)


def _shaped_metadata(opened: OpenTiff | None) -> Mapping[str, Any]:
    """Return what tifffile wrote of an image's metadata as JSON; empty where there is none."""
    try:
        found = json.loads(opened.description) if opened is not None else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def imagej_labels(opened: OpenTiff | None) -> Sequence[str]:
    """Return ImageJ's labels of the slices of a file; none where it has none."""
    return (imagej_metadata(opened) or {}).get("Labels") or ()


def from_imagej(metadata: Mapping[str, Any], x: float, y: float) -> PixelSize:
    """Read the pixel size from ImageJ's unit and the pixels per unit in the resolution tags.

    Args:
        metadata: ImageJ's description as a mapping.
        x: pixels per unit across, NaN where there is no tag.
        y: pixels per unit down.
    """
    unit = unescaped(str(metadata.get("unit", "")))
    if not unit:
        return UNKNOWN
    # ImageJ says "yunit" only where it differs from "unit".
    scales = []
    for name in (unescaped(str(metadata.get("yunit", ""))) or unit, unit):
        scale = microns_per(name)
        if scale is None:
            return PixelSize(None, "unknown", f"ImageJ gives the pixel size in '{name}'")
        scales.append(scale)
    remark = ""
    if x == y == 1:
        # ImageJ itself writes "pixel" where nothing was calibrated; other programs may not.
        remark = f"ImageJ gives 1 {unit} a pixel, which may be a default"
    deep = microns_per(unescaped(str(metadata.get("zunit", ""))) or unit)
    z = number(str(metadata.get("spacing", ""))) * deep if deep else math.nan
    sizes = _inverse(y) * scales[0], _inverse(x) * scales[1]
    return checked_size(*sizes, "ImageJ", remark, z)


def from_metamorph(description: str) -> PixelSize:
    """Read the pixel size from MetaMorph's XML; only where its calibration is switched on."""
    try:
        root = ElementTree.fromstring(description)
    except ElementTree.ParseError:
        return PixelSize(None, "unknown", "the MetaMorph XML is damaged")
    properties = {p.get("id", ""): p.get("value", "") for p in root.iter("prop")}
    if "spatial-calibration-x" not in properties:
        return UNKNOWN
    if properties.get("spatial-calibration-state", "on").lower() not in ("on", "true", "1"):
        return PixelSize(None, "unknown", "MetaMorph's spatial calibration is off")
    unit = properties.get("spatial-calibration-units", "")
    scale = microns_per(unit)
    if scale is None:
        return PixelSize(None, "unknown", f"MetaMorph gives the pixel size in '{unit}'")
    x = number(properties["spatial-calibration-x"])
    y = number(properties.get("spatial-calibration-y", properties["spatial-calibration-x"]))
    return checked_size(y * scale, x * scale, "MetaMorph")


def from_resolution(x: float, y: float, unit: int) -> PixelSize:
    """Read the pixel size from TIFF's resolution tags.

    Args:
        x: pixels per unit across (XResolution), NaN where there is no tag.
        y: pixels per unit down.
        unit: ResolutionUnit: 2 inch, 3 centimetre; 1 (none) and 0 (no tag) say nothing.
    """
    scale = {2: 25400.0, 3: 10000.0}.get(unit)
    if math.isnan(x) or math.isnan(y):
        return UNKNOWN
    if scale is None:
        said = f"resolution of {x:g} × {y:g} pixels in no unit"
        return PixelSize(None, "unknown", "" if x == y and x in (0, 1) else said)
    found = checked_size(_inverse(y) * scale, _inverse(x) * scale, "TIFF resolution")
    if found.mpp is not None and max(found.mpp) > LARGEST_PIXEL:
        dots = 25400.0 / found.mpp[1]
        return PixelSize(None, "unknown", f"resolution of {dots:.0f} dpi is a printer's")
    return found


def channel_names(
    opened: OpenTiff | None,
    series: Series,
    level: Level,
    sizes: Mapping[str, int],
    pages: Sequence[int],
    remarks: list[str],
) -> tuple[str, ...]:
    """Return the channels' names as the file gives them; `()` where it gives none.

    The order is OME-XML, what the instrument's own tags say, ImageJ's labels, tifffile's JSON, the
    pages' names.

    Args:
        opened: the file; None where OME-XML is a file of its own.
        series: the image in it.
        level: its full resolution.
        sizes: lengths of the axes `C`, `Z`, `T` and of the samples of a pixel, `S` (1 where there
            is no such axis).
        pages: of the level, by channel.
        remarks: to which is added what was found and cannot belong to the channels.
    """
    count = sizes["C"]
    if series.ome is not None:
        names = [name for name, _ in series.ome.channels]
        if len(names) == count and any(names):
            return tuple(name or str(i) for i, name in enumerate(names))
        if any(names):
            remarks.append(_other_count("OME-XML", names, count))
    if opened is None:
        return ()
    source, names = names_by_vendor(opened, series, level, pages)
    if len(names) in (count, count * sizes["S"]):
        return tuple(names)
    if names and count > 1:
        remarks.append(_other_count(source, names, count))
    labels = imagej_labels(opened)
    found = imagej_channel_names(labels, count, count * sizes["Z"] * sizes["T"])
    if found:
        return found
    if series.kind == "shaped":
        names = _names_in(_shaped_metadata(opened))
        if len(names) == count:
            return tuple(names)
        if names:
            remarks.append(_other_count("the description", names, count))
    return page_names(opened, level, pages) if series.ome is None else ()


def _names_in(given: Mapping[str, Any]) -> list[str]:
    """Return the names in a description that says `{"Channel": {"Name": [...]}}`, as OME does."""
    channel = given.get("Channel")
    found = channel.get("Name") if isinstance(channel, dict) else None
    return [str(name) for name in found] if isinstance(found, list) else []


def _other_count(source: str, names: Sequence[str], count: int) -> str:
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return f"{source} names {len(names)} channels ({shown}), where there are {count}: not used"


def imagej_channel_names(labels: Sequence[str], channels: int, slices: int) -> tuple[str, ...]:
    """Return channel names from ImageJ's slice labels (channels run fastest); `()` if none.

    Labels that are alike for all channels are the name of a file, not of a channel.
    """
    if len(labels) != slices or channels < 2:
        return ()
    # Hyperstacks prefix "c:1/3 z:1/1 - "; split stacks keep a file's name on a line of its own.
    names = [
        re.sub(r"^(?:[czt]:\d+/\d+\s*)+(?:-\s*)?", "", label).split("\n")[0].strip()
        for label in labels[:channels]
    ]
    return tuple(names) if all(names) and len(set(names)) == channels else ()


def _resolution(page: tifffile.TiffPage) -> tuple[float, float, int]:
    """Return pixels per unit across and down (NaN without a tag) and the unit (0 without one)."""
    values = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        value = tag.value if tag is not None else None
        if isinstance(value, tuple) and len(value) == 2 and value[1]:
            values.append(float(value[0]) / float(value[1]))
        else:
            values.append(math.nan)
    unit = page.tags.get("ResolutionUnit")
    return values[0], values[1], int(unit.value) if unit is not None else 0


def _inverse(value: float) -> float:
    return 1 / value if value else math.nan


def remark_on_shown(page: tifffile.TiffPage, remarks: list[str]) -> None:
    """Say what the file wants to have done to its pixels when they are shown, and is not."""
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        remarks.append("the file says that 0 is white; its values are taken as they are stored")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        remarks.append("the file has a colour table; its values are taken as intensities")
    turned = page.tags.valueof(_ORIENTATION, 1)
    if turned != 1:
        remarks.append(
            f"the file says that it is to be shown turned or mirrored (Orientation {turned});"
            " its pixels are taken as they are stored"
        )
