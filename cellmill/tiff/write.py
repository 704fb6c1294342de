"""Writes label images as OME-TIFF: tiled, deflated, the same bytes for the same labels.

The OME-XML is our own: one made by a library would hold that library's version, and a random UUID.
Source: OME schema 2016-06.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Iterator, Sequence
from typing import IO
from xml.etree import ElementTree

import numpy as np
import tifffile

from cellmill.errors import BadInput

TILE = 512
_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_SCHEMA = f"{_NAMESPACE} {_NAMESPACE}/ome.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
#: The name space of our UUIDs: any fixed one will do.
_UUID_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "cellmill/labels")


def write_labels(
    file: IO[bytes],
    labels: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    image_name: str = "",
    mpp: tuple[float, float] | None = None,
    dtype: str = "int32",
) -> None:
    """Write label images as one OME-TIFF, a channel each.

    Args:
        file: a binary file, open for writing and seeking.
        labels: label images ``(Y, X)`` of one shape, integers from 0; memory maps are read tile by
            tile.
        names: the channels' names: ``"whole_cell"``, ``"nuclear"``.
        image_name: the image's name in the OME-XML.
        mpp: pixel size (y, x) in microns, None where unknown; then the file does not say any.
        dtype: ``"int32"``, or ``"uint16"`` for programs that open no other integers (Fiji
            without Bio-Formats).

    Raises:
        BadInput: the labels do not fit the dtype.
    """
    label = f"labels of '{image_name}'"
    shape = labels[0].shape
    if any(a.ndim != 2 or a.shape != shape or a.dtype.kind not in "iu" for a in labels):
        found = ", ".join(f"{a.dtype} {a.shape}" for a in labels)
        raise BadInput(label, expected="integers (Y, X), of one shape", found=found)
    if math.prod(shape) == 0:
        raise BadInput(label, expected="pixels", found=f"shape {shape}")
    stored = np.dtype(dtype)
    identity = hashlib.sha256()
    for array in labels:
        _check_and_hash(array, stored, identity, label)
    resolution: tuple[float, float] = (1, 1)
    unit = tifffile.RESUNIT.NONE
    if mpp is not None:
        resolution, unit = (1e4 / mpp[1], 1e4 / mpp[0]), tifffile.RESUNIT.CENTIMETER
    nbytes = len(labels) * math.prod(shape) * stored.itemsize
    # Decided by the pixels' size, not by what deflate makes of them, which is known too late.
    with tifffile.TiffWriter(file, bigtiff=nbytes > 2**32 - 2**25) as tif:
        for channel, array in enumerate(labels):
            xml = _ome_xml(shape, stored, names, image_name, mpp, identity) if channel == 0 else ""
            tif.write(
                _tiles(array, stored),
                shape=shape,
                dtype=stored,
                tile=(TILE, TILE),
                photometric="minisblack",
                compression="zlib",
                predictor=True,
                description=xml.encode("ascii") or None,
                metadata=None,
                software="cellmill",
                resolution=resolution,
                resolutionunit=unit,
            )


def _check_and_hash(
    array: np.ndarray, stored: np.dtype, identity: hashlib._Hash, label: str
) -> None:
    limit = np.iinfo(stored).max
    for y in range(0, array.shape[0], TILE):
        rows = array[y : y + TILE]
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high > limit:
            raise BadInput(
                label,
                expected=f"labels from 0 to {limit}, which fit {stored}",
                found=f"label {low if low < 0 else high}",
            )
        identity.update(np.ascontiguousarray(rows, "<i4").data)


def _tiles(array: np.ndarray, stored: np.dtype) -> Iterator[np.ndarray]:
    for y in range(0, array.shape[0], TILE):
        for x in range(0, array.shape[1], TILE):
            window = array[y : y + TILE, x : x + TILE]
            tile = np.zeros((TILE, TILE), stored)
            tile[: window.shape[0], : window.shape[1]] = window
            yield tile


def _ome_xml(
    shape: tuple[int, ...],
    stored: np.dtype,
    names: Sequence[str],
    image_name: str,
    mpp: tuple[float, float] | None,
    pixels_identity: hashlib._Hash,
) -> str:
    """Return the OME-XML, in ASCII: µ and other letters as character references."""
    identity = pixels_identity.copy()
    identity.update(repr((shape, stored.name, tuple(names), image_name, mpp)).encode())
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": _NAMESPACE,
            "xmlns:xsi": _INSTANCE,
            "xsi:schemaLocation": _SCHEMA,
            "UUID": f"urn:uuid:{uuid.uuid5(_UUID_ROOT, identity.hexdigest())}",
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
