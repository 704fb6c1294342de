"""Writes label images as OME-TIFF: tiled, deflated, the same bytes for the same labels.

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

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.tiff.pyramid import TILE, PyramidEncoder, level_shapes, row_memory

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


def write_labels(
    file: IO[bytes],
    labels: Sequence[Windowed],
    names: Sequence[str],
    *,
    image_name: str = "",
    mpp: tuple[float, float] | None = None,
    dtype: str = "int32",
    memory_mib: int = MEMORY_MIB,
) -> None:
    """Write label images as one OME-TIFF, a channel each.

    An image with a side above 1024 px gets a pyramid: each level has every second pixel of the one
    before, down to 1024 px. Labels are read once, tile by tile.

    Args:
        file: a binary file, open for writing, reading and seeking.
        labels: label images ``(Y, X)`` of one shape and any size, integers from 0.
        names: the channels' names: ``"whole_cell"``, ``"nuclear"``.
        image_name: the image's name in the OME-XML.
        mpp: pixel size (y, x) in microns, None where unknown; then the file does not say any.
        dtype: ``"int32"``, or ``"uint16"`` for programs that open no other integers (Fiji
            without Bio-Formats). OME-TIFF has no 64-bit integers.
        memory_mib: memory to use at most; the file does not depend on it.

    Raises:
        BadInput: the labels do not fit the dtype, or the image is too wide for the memory.
    """
    label = f"labels of '{image_name}'"
    shape = (labels[0].shape[0], labels[0].shape[-1])
    if any(len(a.shape) != 2 or a.shape != shape or a.dtype.kind not in "iu" for a in labels):
        found = ", ".join(f"{a.dtype} {a.shape}" for a in labels)
        raise BadInput(label, expected="integers (Y, X), of one shape", found=found)
    if math.prod(shape) == 0:
        raise BadInput(label, expected="pixels", found=f"shape {shape}")
    stored = np.dtype(dtype).newbyteorder("<")
    needed = row_memory(shape, stored) // 2**20 + 1
    if needed > memory_mib:
        raise BadInput(
            "parameter memory_mib",
            expected=f"{needed} or more for labels {shape[1]:,} px wide",
            found=f"{memory_mib}",
        )
    levels = level_shapes(shape)
    xml = _ome_xml(shape, stored, names, image_name, mpp)
    identity = hashlib.sha256(repr((shape, stored.name, tuple(names), image_name, mpp)).encode())
    nbytes = len(labels) * sum(math.prod(level) for level in levels) * stored.itemsize
    start = file.tell()
    # Decided by the pixels' size, not by what deflate makes of them, which is known too late.
    with tifffile.TiffWriter(file, bigtiff=nbytes > 2**32 - 2**25, byteorder="<") as tif:
        for channel, array in enumerate(labels):
            with PyramidEncoder(array, stored, label) as encoder:
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
                        description=(xml.encode("ascii") or None) if not channel + level else None,
                        metadata=None,
                        software="cellmill",
                        **_resolution(mpp, 2**level),
                    )
            identity.update(encoder.digest)
    _write_uuid(file, start, uuid.uuid5(_UUID_ROOT, identity.hexdigest()))


def _resolution(mpp: tuple[float, float] | None, reduction: int) -> dict[str, Any]:
    if mpp is None:
        return {"resolution": (1, 1), "resolutionunit": tifffile.RESUNIT.NONE}
    per_cm = 1e4 / mpp[1] / reduction, 1e4 / mpp[0] / reduction
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
    mpp: tuple[float, float] | None,
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
    image = ElementTree.SubElement(root, "Image", {"ID": "Image:0", "Name": _xml_text(image_name)})
    size = {
        "SizeX": str(shape[1]),
        "SizeY": str(shape[0]),
        "SizeC": str(len(names)),
        "SizeZ": "1",
        "SizeT": "1",
    }
    if mpp is not None:
        size |= {
            "PhysicalSizeX": repr(float(mpp[1])),
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": repr(float(mpp[0])),
            "PhysicalSizeYUnit": "µm",
        }
    pixels = ElementTree.SubElement(
        image,
        "Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": "XYCZT",
            "Type": stored.name,
            "BigEndian": "false",
            "Interleaved": "false",
            **size,
        },
    )
    for i, name in enumerate(names):
        channel = {"ID": f"Channel:0:{i}", "Name": _xml_text(name), "SamplesPerPixel": "1"}
        ElementTree.SubElement(pixels, "Channel", channel)
    for i in range(len(names)):
        plane = {"IFD": str(i), "FirstC": str(i), "PlaneCount": "1"}
        ElementTree.SubElement(pixels, "TiffData", plane)
    text = ElementTree.tostring(root, encoding="us-ascii").decode("ascii")
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return declaration + text.split("?>", 1)[-1].strip()


def _xml_text(text: str) -> str:
    """Return text without the control characters that XML 1.0 cannot hold."""
    return "".join(c if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF else "_" for c in text)
