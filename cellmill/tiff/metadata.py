"""What a TIFF says of itself beside its pixels: pixel size and channel names.

Sources: TIFF 6.0; OME schema 2016-06 (``Pixels/@PhysicalSizeX``, ``Channel/@Name``); ImageJ's
``ij.io.TiffEncoder`` format (``unit=`` in the description, resolution in pixels per unit, slice
labels); MetaMorph's ``<MetaData>`` XML (``spatial-calibration-*``).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import tifffile

#: Microns per unit. Keys are as ``_unit_key`` makes them: NFKC turns both encodings of the micro
#: sign (U+00B5 and U+03BC) into the Greek letter.
MICRONS_PER_UNIT: Mapping[str, float] = {
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimeters": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
    '"': 25400.0,
    "thou": 25.4,
    "li": 25400.0 / 12,
    "pt": 25400.0 / 72,
    "ft": 304800.0,
}

#: A resolution tag that makes a pixel larger than this is about paper: 2400 dots per inch, the
#: finest of the printers' defaults (72, 96, 150, 300, 600 …), is 10.6 µm; cells need less than 10.
LARGEST_PIXEL = 10.0


@dataclass(frozen=True)
class PixelSize:
    """Pixel size of an image at full resolution.

    Attributes:
        mpp: microns per pixel (y, x), or None where the file does not say.
        source: ``"OME-XML"``, ``"ImageJ"``, ``"MetaMorph"``, ``"TIFF resolution"``,
            ``"parameter"`` or ``"unknown"``.
        remark: why what the file says was not believed, else empty.
    """

    mpp: tuple[float, float] | None
    source: str
    remark: str = ""


UNKNOWN = PixelSize(None, "unknown")


def pixel_size(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> PixelSize:
    """Return the pixel size of one image of a TIFF, from the most telling place that has it.

    The order is OME-XML, ImageJ, MetaMorph, the resolution tags. Where an ImageJ file has a unit,
    its resolution tags are in that unit and are not asked again.
    """
    remarks = []
    places = [from_ome_xml(ome_image(tif, series))]
    page = series.keyframe
    if page.is_imagej:
        places.append(from_imagej(tif.imagej_metadata or {}, *_resolution(page)[:2]))
    if page.description.lstrip().startswith("<MetaData>"):
        places.append(from_metamorph(page.description))
    unit = str((tif.imagej_metadata or {}).get("unit", "")) if page.is_imagej else ""
    if not unit:
        places.append(from_resolution(*_resolution(page)))
    for found in places:
        if found.mpp is not None:
            return found
        if found.remark:
            remarks.append(found.remark)
    return PixelSize(None, "unknown", "; ".join(remarks))


def from_ome_xml(image: ElementTree.Element | None) -> PixelSize:
    """Read the pixel size from an OME ``Image`` element; a size without a unit is in µm."""
    pixels = None if image is None else image.find("{*}Pixels")
    if pixels is None:
        return UNKNOWN
    sizes = []
    for axis in "YX":
        text = pixels.get(f"PhysicalSize{axis}", "")
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if not text:
            return UNKNOWN
        scale = MICRONS_PER_UNIT.get(_unit_key(unit))
        if scale is None:
            return PixelSize(None, "unknown", f"OME-XML gives the pixel size in '{unit}'")
        sizes.append(_number(text) * scale)
    return _checked(sizes[0], sizes[1], "OME-XML")


def from_imagej(metadata: Mapping[str, Any], x: float, y: float) -> PixelSize:
    """Read the pixel size from ImageJ's unit and the pixels per unit in the resolution tags.

    Args:
        metadata: ImageJ's description as a mapping.
        x: pixels per unit across, NaN where there is no tag.
        y: pixels per unit down.
    """
    unit = _imagej_unit(metadata.get("unit", ""))
    if not unit:
        return UNKNOWN
    # ImageJ says "yunit" only where it differs from "unit".
    units = (_imagej_unit(metadata.get("yunit", "")) or unit, unit)
    for name in units:
        if _unit_key(name) not in MICRONS_PER_UNIT:
            return PixelSize(None, "unknown", f"ImageJ gives the pixel size in '{name}'")
    scale_y, scale_x = (MICRONS_PER_UNIT[_unit_key(name)] for name in units)
    if x == y == 1:
        # ImageJ leaves the tags out of an image that was never calibrated; other writers put 1/1.
        return PixelSize(None, "unknown", f"ImageJ resolution 1/1 {unit} is a default")
    return _checked(_inverse(y) * scale_y, _inverse(x) * scale_x, "ImageJ")


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
    scale = MICRONS_PER_UNIT.get(_unit_key(unit))
    if scale is None:
        return PixelSize(None, "unknown", f"MetaMorph gives the pixel size in '{unit}'")
    x = _number(properties["spatial-calibration-x"])
    y = _number(properties.get("spatial-calibration-y", properties["spatial-calibration-x"]))
    return _checked(y * scale, x * scale, "MetaMorph")


def from_resolution(x: float, y: float, unit: int) -> PixelSize:
    """Read the pixel size from TIFF's resolution tags.

    Args:
        x: pixels per unit across (XResolution), NaN where there is no tag.
        y: pixels per unit down.
        unit: ResolutionUnit: 2 inch, 3 centimetre; 1 (none) and 0 (no tag) say nothing.
    """
    scale = {2: 25400.0, 3: 10000.0}.get(unit)
    if scale is None or math.isnan(x) or math.isnan(y):
        return UNKNOWN
    found = _checked(_inverse(y) * scale, _inverse(x) * scale, "TIFF resolution")
    if found.mpp is not None and max(found.mpp) > LARGEST_PIXEL:
        dots = 25400.0 / found.mpp[1]
        return PixelSize(None, "unknown", f"resolution of {dots:.0f} dpi is a printer's")
    return found


def channel_names(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Mapping[str, int]
) -> tuple[str, ...]:
    """Return the channels' names as the file gives them; ``()`` where it gives none.

    Args:
        tif: the file.
        series: the image in it.
        sizes: lengths of the axes ``C``, ``Z``, ``T`` (1 where there is no such axis).
    """
    image = ome_image(tif, series)
    if image is not None:
        channels = image.findall("{*}Pixels/{*}Channel")
        if len(channels) == sizes["C"]:
            return tuple(c.get("Name") or str(i) for i, c in enumerate(channels))
        return ()
    if series.keyframe.is_imagej:
        labels = (tif.imagej_metadata or {}).get("Labels") or []
        return imagej_channel_names(labels, sizes["C"], sizes["C"] * sizes["Z"] * sizes["T"])
    return ()


def imagej_channel_names(labels: Sequence[str], channels: int, slices: int) -> tuple[str, ...]:
    """Return channel names from ImageJ's slice labels (channels run fastest); ``()`` if none.

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


def ome_image(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> ElementTree.Element | None:
    """Return the OME ``Image`` element that describes a series, or None.

    tifffile leaves out images without planes, so the n-th series need not be the n-th element:
    name and size must agree.
    """
    if series.kind != "ome" or not tif.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return None
    images = root.findall("{*}Image")
    if len(images) == len(tif.series):
        return images[tif.series.index(series)]
    axes = dict(zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True))
    for image in images:
        pixels = image.find("{*}Pixels")
        if pixels is None or image.get("Name", "") != series.name:
            continue
        if all(pixels.get(f"Size{a}") == str(axes[a]) for a in "YX"):
            return image
    return None


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


def _imagej_unit(unit: object) -> str:
    # ImageJ's description is ASCII: "unit=\\u00B5m" with a literal backslash.
    return re.sub(r"\\[uU]00[bB]5", "µ", str(unit))


def _unit_key(unit: str) -> str:
    """Return a unit in one spelling: both micro signs become one letter, mojibake is undone."""
    return unicodedata.normalize("NFKC", unit.replace("Â", "").strip()).casefold()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _inverse(value: float) -> float:
    return 1 / value if value else math.nan


def _checked(y: float, x: float, source: str) -> PixelSize:
    """Return a pixel size, unknown where it is no positive number."""
    if not all(math.isfinite(v) and v > 0 for v in (y, x)):
        return PixelSize(None, "unknown", f"{source} gives the pixel size {y:g} × {x:g}")
    return PixelSize((y, x), source)
