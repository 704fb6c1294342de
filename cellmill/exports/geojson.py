"""Objects as GeoJSON that QuPath opens: polygons with their measurements.

QuPath's own form: a `FeatureCollection` of features with `objectType`, a `classification` and
`measurements`; a cell with one nucleus is one feature that has a `nucleusGeometry` too. Coordinates
are pixels of the image at full resolution, from its upper left corner.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.exports.objects import Objects, blocks_of, objects_of, outlines_of
from cellmill.exports.outlines import Polygon
from cellmill.exports.tables import TableInParts, in_parts
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL
from cellmill.labels.pairs import check_labels

#: How QuPath calls what cellmill's columns hold.
_SHAPES = {
    "area_px": "Area px^2",
    "area_um2": "Area µm^2",
    "perimeter_px": "Length px",
    "perimeter_um": "Length µm",
    "major_axis_px": "Major axis px",
    "major_axis_um": "Major axis µm",
    "minor_axis_px": "Minor axis px",
    "minor_axis_um": "Minor axis µm",
    "eccentricity": "Eccentricity",
}
_CHANNELS = {
    "mean": "Mean",
    "sd": "Std.Dev.",
    "min": "Min",
    "max": "Max",
    "sum": "Sum",
    "background": "Background",
}
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
#: Identifiers of features are made in this namespace, from what the feature is.
_NAMESPACE = uuid.UUID("6ab7c7f4-9c4f-5b43-9c0d-3ff4a8f1d1a5")


def write_geojson(
    file: IO[bytes],
    labels: Mapping[str, Windowed],
    table: pa.Table | TableInParts,
    *,
    name: str,
    tolerance: float = 0.0,
) -> int:
    """Write all objects of an image; the same labels and measurements give the same bytes.

    What is held at once is a band of each label image, parts of the table, and a few numbers for
    each object.

    Args:
        file: what to write to.
        labels: label images `(Y, X)` by kind of object, read band by band.
        table: their measurements, as `cellmill.measurement` makes them, best in parts of a file.
        name: the image's; identifiers are made from it.
        tolerance: how far, in pixels, an outline may be from the pixels' edges, to have fewer
            corners; 0 is exact.

    Returns:
        How many features there are.

    Raises:
        BadInput: the tolerance is below 0, or the table does not belong to the labels.
    """
    check_tolerance(tolerance)
    for kind, array in labels.items():
        check_labels(array, f"the {kind} labels")
    parts = in_parts(table)
    found = {kind: objects_of(parts, kind) for kind in labels}
    nuclei = _nuclei_of_cells(found)
    file.write(b'{"type": "FeatureCollection", "features": [')
    count = 0
    for kind, array in labels.items():
        objects = found[kind]
        rows, inner = np.arange(len(objects)), np.full(len(objects), -1)
        if kind == WHOLE_CELL:
            inner = nuclei
        elif kind == NUCLEAR:
            rows = np.setdiff1d(rows, nuclei)
        prefix = "Cell: " if kind == WHOLE_CELL else "Nucleus: " if kind == NUCLEAR else ""
        shown = _shown(array, objects, rows, prefix, tolerance)
        within: Iterator[_Shown] = iter(())
        if (inner >= 0).any():
            paired = inner[inner >= 0]
            within = _shown(labels[NUCLEAR], found[NUCLEAR], paired, "Nucleus: ", tolerance)
        for row, (geometry, measurements) in zip(rows, shown, strict=True):
            label = int(objects.labels[row])
            feature = _feature(name, kind, label, geometry, measurements)
            if inner[row] >= 0:
                feature["nucleusGeometry"], more = next(within)
                feature["properties"]["measurements"] |= more
            file.write(b",\n" if count else b"\n")
            file.write(_JSON.encode(feature).encode())
            count += 1
    file.write(b"\n]}\n")
    return count


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is none.

    Raises:
        BadInput: it is below 0, or no number.
    """
    if not 0 <= tolerance < math.inf:
        raise BadInput("tolerance", expected="0 pixels or more", found=f"{tolerance:g}")


def _called(column: str) -> str:
    """What QuPath calls a column; empty for one that is not shown."""
    if column in _SHAPES:
        return _SHAPES[column]
    what, _, channel = column.partition("_")
    return f"{channel}: {_CHANNELS[what]}" if what in _CHANNELS and channel else ""


def _nuclei_of_cells(found: Mapping[str, Objects]) -> np.ndarray:
    """The place among the nuclei of each cell's only one, `(N,)`, -1 where there is none such."""
    cells, nuclei = found.get(WHOLE_CELL), found.get(NUCLEAR)
    nucleus = np.full(len(cells) if cells else 0, -1)
    if not cells or not nuclei or "cell_label" not in cells.table.column_names:
        return nucleus
    (inside,) = nuclei.numbers(np.arange(len(nuclei)), ["cell_label"])
    place = np.searchsorted(cells.labels, inside)
    rows = np.flatnonzero(np.isin(inside, cells.labels))
    single = np.bincount(place[rows], minlength=len(cells)) == 1
    rows = rows[single[place[rows]]]
    nucleus[place[rows]] = rows
    return nucleus


#: A geometry, and the measurements of what it outlines.
_Shown = tuple[dict[str, Any], dict[str, float]]


def _shown(
    array: Windowed, objects: Objects, rows: np.ndarray, prefix: str, tolerance: float
) -> Iterator[_Shown]:
    outlines = outlines_of(array, objects, rows, tolerance)
    columns = {column: _called(column) for column in objects.table.column_names}
    columns = {column: f"{prefix}{called}" for column, called in columns.items() if called}
    for block in blocks_of(rows):
        for figures in objects.numbers(block, list(columns)).T.tolist():
            values = zip(columns.values(), figures, strict=True)
            measurements = {called: value for called, value in values if math.isfinite(value)}
            yield _geometry(next(outlines)), measurements


def _feature(
    name: str, kind: str, label: int, geometry: dict[str, Any], measurements: dict[str, float]
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{name}\n{kind}\n{label}")),
        "geometry": geometry,
        "properties": {
            "objectType": "cell" if kind == WHOLE_CELL else "detection",
            "name": f"{kind} {label}",
            "classification": {"name": kind.replace("_", " ").capitalize()},
            "measurements": {"Label": label, **measurements},
        },
    }


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    rings = [[_closed(each.outer), *map(_closed, each.holes)] for each in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _closed(ring: np.ndarray) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
