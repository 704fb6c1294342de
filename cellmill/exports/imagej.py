"""Objects as regions of interest for ImageJ and Fiji: a zip that the ROI Manager opens.

A connected object without holes is a traced region, as the wand makes one; any other is a composite
one. Corners are those of pixels. Written by roifile, after ImageJ's RoiEncoder.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa

from cellmill import extras
from cellmill.arrays.windows import Windowed
from cellmill.exports.objects import objects_of, outlines_of
from cellmill.exports.outlines import Polygon
from cellmill.exports.tables import TableInParts

#: The day that ZIP counts from: the same regions give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
#: The words of a composite region's path.
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def write_rois(
    file: IO[bytes],
    labels: Mapping[str, Windowed],
    table: pa.Table | TableInParts,
    *,
    tolerance: float = 0.0,
) -> int:
    """Write all objects of an image; the same labels give the same bytes.

    Args:
        file: a binary file, open for writing and seeking.
        labels: label images `(Y, X)` by kind of object, read band by band.
        table: their measurements, which say where each object lies.
        tolerance: how far, in pixels, an outline may be from the pixels' edges; 0 is exact.

    Returns:
        How many regions there are, each called `<kind> <label>`.

    Raises:
        BadInput: roifile is not installed, or the table does not belong to the labels.
    """
    roifile = extras.load("roifile", "ImageJ's regions of interest")
    count = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for kind, array in labels.items():
            objects = objects_of(table, kind)
            rows = np.arange(len(objects))
            outlines = outlines_of(array, objects, rows, tolerance)
            for label, polygons in zip(objects.labels.tolist(), outlines, strict=True):
                name = f"{kind} {label}"
                roi = _region(roifile, polygons, name)
                entry = zipfile.ZipInfo(f"{name.replace(' ', '_')}.roi", _DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                out.writestr(entry, roi.tobytes())
                count += 1
    return count


def _region(roifile: Any, polygons: Sequence[Polygon], name: str) -> Any:
    if len(polygons) == 1 and not polygons[0].holes:
        roi = roifile.ImagejRoi.frompoints(polygons[0].outer, name=name)
        roi.roitype = roifile.ROI_TYPE.TRACED
        # roifile makes boxes of pixels; ImageJ's reach from corner to corner.
        roi.right, roi.bottom = (int(edge) - 1 for edge in (roi.right, roi.bottom))
        return roi
    rings = [ring for each in polygons for ring in (each.outer, *each.holes)]
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    path = np.concatenate([_path(ring) for ring in rings])
    return roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT,
        name=name,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(path),
        multi_coordinates=path,
    )


def _path(ring: np.ndarray) -> np.ndarray:
    """A ring as a path of ImageJ's: go there, lines on, close it."""
    words = np.full((len(ring), 3), _LINE, np.float32)
    words[0, 0] = _MOVE
    words[:, 1:] = ring
    return np.append(words.ravel(), np.float32(_CLOSE))
