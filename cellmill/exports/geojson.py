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
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.exports.objects import Objects, objects_of, outlines_of
from cellmill.exports.outlines import Polygon
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
#: Identifiers of features are made in this namespace, from what the feature is.
_NAMESPACE = uuid.UUID("6ab7c7f4-9c4f-5b43-9c0d-3ff4a8f1d1a5")


@dataclass(frozen=True)
class _Measured:
    """Objects of one kind with what is shown of them."""

    objects: Objects
    columns: Mapping[str, np.ndarray]
    cells: np.ndarray


def write_geojson(
    file: IO[bytes],
    labels: Mapping[str, Windowed],
    table: pa.Table,
    *,
    name: str,
    tolerance: float = 0.0,
) -> int:
    """Write all objects of an image; the same labels and measurements give the same bytes.

    Args:
        file: what to write to.
        labels: label images `(Y, X)` by kind of object, read band by band.
        table: their measurements, as `cellmill.measurement` makes them.
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
    found = {kind: _measured(table, kind) for kind in labels}
    nuclei, apart = _nuclei_of_cells(found)
    file.write(b'{"type": "FeatureCollection", "features": [')
    count = 0
    for kind, array in labels.items():
        measured = found[kind]
        rows = np.arange(len(measured.objects.labels)) if kind != NUCLEAR else apart
        inner: Iterator[tuple[Polygon, ...]] = iter(())
        pairs = np.array([], np.int64)
        if kind == WHOLE_CELL and nuclei:
            pairs = np.array([nuclei.get(int(row), -1) for row in rows], np.int64)
            nucleus = found[NUCLEAR].objects
            inner = outlines_of(labels[NUCLEAR], nucleus, pairs[pairs >= 0], tolerance)
        outlines = outlines_of(array, measured.objects, rows, tolerance)
        for place, (row, polygons) in enumerate(zip(rows, outlines, strict=True)):
            feature = _feature(name, kind, measured, int(row), polygons)
            if len(pairs) and pairs[place] >= 0:
                feature["nucleusGeometry"] = _geometry(next(inner))
                feature["properties"]["measurements"] |= _measurements(
                    found[NUCLEAR], int(pairs[place]), "Nucleus: "
                )
            file.write(b",\n" if count else b"\n")
            file.write(json.dumps(feature, ensure_ascii=False, allow_nan=False).encode())
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


def _measured(table: pa.Table, kind: str) -> _Measured:
    objects = objects_of(table, kind)
    chosen = objects.rows
    columns = {}
    for column in chosen.column_names:
        called = _called(column)
        if called and chosen[column].null_count < len(chosen):
            columns[called] = chosen[column].to_numpy().astype(np.float64)
    cells = np.full(len(chosen), np.nan)
    if "cell_label" in chosen.column_names:
        cells = chosen["cell_label"].to_numpy().astype(np.float64)
    return _Measured(objects, columns, cells)


def _called(column: str) -> str:
    """What QuPath calls a column; empty for one that is not shown."""
    if column in _SHAPES:
        return _SHAPES[column]
    what, _, channel = column.partition("_")
    return f"{channel}: {_CHANNELS[what]}" if what in _CHANNELS and channel else ""


def _nuclei_of_cells(found: Mapping[str, _Measured]) -> tuple[dict[int, int], np.ndarray]:
    """The row of the nucleus of each cell that has just one, and the rows of all other nuclei."""
    if NUCLEAR not in found:
        return {}, np.array([], np.int64)
    nuclei = found[NUCLEAR]
    rows = np.arange(len(nuclei.objects.labels))
    if WHOLE_CELL not in found:
        return {}, rows
    cells, counts = np.unique(nuclei.cells[~np.isnan(nuclei.cells)], return_counts=True)
    single = cells[counts == 1]
    place = {int(label): row for row, label in enumerate(found[WHOLE_CELL].objects.labels)}
    inside = np.isin(nuclei.cells, single)
    pairs = {place[int(nuclei.cells[row])]: int(row) for row in rows[inside]}
    return pairs, rows[~inside]


def _feature(
    name: str, kind: str, measured: _Measured, row: int, polygons: Sequence[Polygon]
) -> dict[str, Any]:
    label = int(measured.objects.labels[row])
    prefix = "Cell: " if kind == WHOLE_CELL else "Nucleus: " if kind == NUCLEAR else ""
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{name}\n{kind}\n{label}")),
        "geometry": _geometry(polygons),
        "properties": {
            "objectType": "cell" if kind == WHOLE_CELL else "detection",
            "name": f"{kind} {label}",
            "classification": {"name": kind.replace("_", " ").capitalize()},
            "measurements": {"Label": label, **_measurements(measured, row, prefix)},
        },
    }


def _measurements(measured: _Measured, row: int, prefix: str) -> dict[str, float]:
    values = ((called, float(column[row])) for called, column in measured.columns.items())
    return {f"{prefix}{called}": value for called, value in values if math.isfinite(value)}


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    rings = [[_closed(each.outer), *map(_closed, each.holes)] for each in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _closed(ring: np.ndarray) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
