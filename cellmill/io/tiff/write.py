"""Writes label images and images as OME-TIFF: deflated, the same bytes for the same pixels.

The OME-XML is our own: one made by a library would hold that library's version, and a random UUID.
Source: OME schema 2016-06; OME-TIFF specification 6.3, sub-resolutions as SubIFDs.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Sequence
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from cellmill.arrays.windows import Windowed, sections_of
from cellmill.errors import BadInput
from cellmill.io.tiff.pyramid import TILE, PyramidEncoder, level_shapes, row_memory

MEMORY_MIB = 1024
_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_SCHEMA = f"{_NAMESPACE} {_NAMESPACE}/ome.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
#: The name space of our UUIDs: any fixed one will do.
_UUID_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "cellmill/labels")
#: Stands in the OME-XML, which comes first in the file, until the pixels have been seen.
_NO_UUID = uuid.UUID(int=0)
#: Of a file, more than enough for what comes before the first tag values and for the OME-XML.
_HEAD_BYTES = 1 << 20


def write_label_images(
    file: IO[bytes],
    labels: Sequence[Windowed],
    names: Sequence[str],
    *,
    image_name: str = "",
    mpp: tuple[float, ...] | None = None,
    dtype: str = "int32",
    memory_mib: int = MEMORY_MIB,
) -> None:
    """Write label images as one OME-TIFF, a channel each.

    An image with a side above 1024 px gets a pyramid: each level has every second pixel of the one
    before, down to 1024 px. Labels are read once, tile by tile.

    Args:
        file: a binary file, open for writing, reading and seeking.
        labels: label images `(Y, X)`, or `(Z, Y, X)` of volumes, a page each plane, of one shape
            and any size, integers from 0.
        names: the channels' names: `"whole_cell"`, `"nuclear"`.
        image_name: the image's name in the OME-XML.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown; then the file does
            not say any.
        dtype: `"int32"`, or `"uint16"` for programs that open no other integers (Fiji
            without Bio-Formats). OME-TIFF has no 64-bit integers.
        memory_mib: memory to use at most; the file does not depend on it.

    Raises:
        BadInput: the labels do not fit the dtype, or the image is too wide for the memory.
    """
    label = f"labels of '{image_name}'"
    whole = tuple(labels[0].shape)
    if len(whole) not in (2, 3) or any(
        tuple(a.shape) != whole or a.dtype.kind not in "iu" for a in labels
    ):
        found = ", ".join(f"{a.dtype} {a.shape}" for a in labels)
        expected = "integers (Y, X) or (Z, Y, X), of one shape"
        raise BadInput(label, expected=expected, found=found)
    shape = (whole[-2], whole[-1])
    if math.prod(whole) == 0:
        raise BadInput(label, expected="pixels", found=f"shape {whole}")
    stored = np.dtype(dtype).newbyteorder("<")
    needed = row_memory(shape, stored) // 2**20 + 1
    if needed > memory_mib:
        raise BadInput(
            "parameter memory_mib",
            expected=f"{needed} or more for labels {shape[1]:,} px wide",
            found=f"{memory_mib}",
        )
    levels = level_shapes(shape)
    xml = _ome_xml(whole, stored, names, image_name, mpp)
    identity = hashlib.sha256(repr((whole, stored.name, tuple(names), image_name, mpp)).encode())
    planes = [plane for array in labels for plane in sections_of(array)]
    nbytes = len(planes) * sum(math.prod(level) for level in levels) * stored.itemsize
    start = file.tell()
    # Decided by the pixels' size, not by what deflate makes of them, which is known too late.
    with tifffile.TiffWriter(file, bigtiff=nbytes > 2**32 - 2**25, byteorder="<") as tif:
        for number, plane in enumerate(planes):
            with PyramidEncoder(plane, stored, label) as encoder:
                for level, level_shape in enumerate(levels):
                    tif.write(
                        encoder.first_level() if level == 0 else encoder.later_level(level),
                        shape=level_shape,
                        dtype=stored,
                        tile=(TILE, TILE),
                        photometric="minisblack",
                        compression="zlib",
                        subifds=len(levels) - 1 if level == 0 else None,
                        subfiletype=1 if level else 0,
                        description=(xml.encode("ascii") or None) if not number + level else None,
                        metadata=None,
                        software="cellmill",
                        **_resolution(mpp, 2**level),
                    )
            identity.update(encoder.digest)
    _write_uuid(file, start, uuid.uuid5(_UUID_ROOT, identity.hexdigest()))


def write_image(
    file: IO[bytes],
    image: Windowed,
    names: Sequence[str],
    *,
    image_name: str = "",
    mpp: tuple[float, ...] | None = None,
) -> None:
    """Write an image or a volume as an OME-TIFF, a page each channel and plane.

    It is read plane by plane. The same image gives the same bytes.

    Args:
        file: a binary file, open for writing, reading and seeking.
        image: `(Y, X, C)` or `(Z, Y, X, C)` uint8, uint16 or float32.
        names: the channels' names.
        image_name: the image's name in the OME-XML.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.

    Raises:
        BadInput: it has other axes, another dtype, or no pixels.
    """
    whole, stored = tuple(image.shape[:-1]), np.dtype(image.dtype).newbyteorder("<")
    known = len(whole) in (2, 3) and stored.name in ("uint8", "uint16", "float32")
    if not known or not math.prod(image.shape) or len(names) != image.shape[-1]:
        raise BadInput(
            f"image '{image_name}'",
            expected="(Y, X, C) or (Z, Y, X, C) uint8, uint16 or float32, a name each channel",
            found=f"{stored.name} {tuple(image.shape)}, {len(names)} names",
        )
    xml = _ome_xml(whole, stored, names, image_name, mpp)
    identity = hashlib.sha256(repr((whole, stored.name, tuple(names), image_name, mpp)).encode())
    start = file.tell()
    bigtiff = math.prod(image.shape) * stored.itemsize > 2**32 - 2**25
    first = True
    with tifffile.TiffWriter(file, bigtiff=bigtiff, byteorder="<") as tif:
        for channel in range(len(names)):
            for z in range(whole[0] if len(whole) == 3 else 1):
                window = (z, ..., channel) if len(whole) == 3 else (..., channel)
                plane = np.ascontiguousarray(image[window], stored)
                identity.update(plane.data)
                tif.write(
                    plane,
                    photometric="minisblack",
                    compression="zlib",
                    predictor=True,
                    description=(xml.encode("ascii") or None) if first else None,
                    metadata=None,
                    software="cellmill",
                    **_resolution(mpp, 1),
                )
                first = False
    _write_uuid(file, start, uuid.uuid5(_UUID_ROOT, identity.hexdigest()))


def _resolution(mpp: tuple[float, ...] | None, reduction: int) -> dict[str, Any]:
    if mpp is None:
        return {"resolution": (1, 1), "resolutionunit": tifffile.RESUNIT.NONE}
    per_cm = 1e4 / mpp[-1] / reduction, 1e4 / mpp[-2] / reduction
    return {"resolution": per_cm, "resolutionunit": tifffile.RESUNIT.CENTIMETER}


def _write_uuid(file: IO[bytes], start: int, identity: uuid.UUID) -> None:
    """Put the UUID in the place that the OME-XML keeps for it, near the file's beginning."""
    placeholder = str(_NO_UUID).encode()
    file.seek(start)
    place = start + file.read(_HEAD_BYTES).index(placeholder)
    file.seek(place)
    file.write(str(identity).encode())
    file.seek(0, 2)


def _ome_xml(
    shape: tuple[int, ...],
    stored: np.dtype,
    names: Sequence[str],
    image_name: str,
    mpp: tuple[float, ...] | None,
) -> str:
    """Return the OME-XML, in ASCII: µ and other letters as character references."""
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": _NAMESPACE,
            "xmlns:xsi": _INSTANCE,
            "xsi:schemaLocation": _SCHEMA,
            "UUID": f"urn:uuid:{_NO_UUID}",
            "Creator": "cellmill",
        },
    )
    depth = shape[0] if len(shape) == 3 else 1
    image = ElementTree.SubElement(root, "Image", {"ID": "Image:0", "Name": _xml_text(image_name)})
    size = {
        "SizeX": str(shape[-1]),
        "SizeY": str(shape[-2]),
        "SizeC": str(len(names)),
        "SizeZ": str(depth),
        "SizeT": "1",
    }
    if mpp is not None:
        size |= {
            "PhysicalSizeX": repr(float(mpp[-1])),
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": repr(float(mpp[-2])),
            "PhysicalSizeYUnit": "µm",
        }
    if mpp is not None and len(mpp) == 3:
        size |= {"PhysicalSizeZ": repr(float(mpp[0])), "PhysicalSizeZUnit": "µm"}
    pixels = ElementTree.SubElement(
        image,
        "Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": "XYZCT" if depth > 1 else "XYCZT",
            "Type": {"float32": "float"}.get(stored.name, stored.name),
            "BigEndian": "false",
            "Interleaved": "false",
            **size,
        },
    )
    for i, name in enumerate(names):
        channel = {"ID": f"Channel:0:{i}", "Name": _xml_text(name), "SamplesPerPixel": "1"}
        ElementTree.SubElement(pixels, "Channel", channel)
    for i in range(len(names)):
        plane = {"IFD": str(i * depth), "FirstC": str(i), "PlaneCount": str(depth)}
        ElementTree.SubElement(pixels, "TiffData", plane)
    text = ElementTree.tostring(root, encoding="us-ascii").decode("ascii")
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return declaration + text.split("?>", 1)[-1].strip()


def _xml_text(text: str) -> str:
    """Return text without the control characters that XML 1.0 cannot hold."""
    return "".join(c if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF else "_" for c in text)
