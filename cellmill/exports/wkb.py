"""Polygons as GeoParquet: a column of well-known binary, the objects' labels as the index.

Source: OGC Simple Features 1.2.1, well-known binary; GeoParquet 1.0.0; pandas' metadata.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from cellmill.exports.outlines import Polygon

#: Objects that are held at once.
_GROUP = 1 << 14
_POLYGON, _MULTIPOLYGON = 3, 6


def wkb(polygons: Sequence[Polygon]) -> bytes:
    """Give an object's polygons as one geometry: a polygon, or a multipolygon of several."""
    parts = [_polygon(each) for each in polygons]
    if len(parts) == 1:
        return parts[0]
    return struct.pack("<BII", 1, _MULTIPOLYGON, len(parts)) + b"".join(parts)


def write_geoparquet(
    path: Path, labels: np.ndarray, outlines: Iterator[tuple[Polygon, ...]], index: str
) -> None:
    """Write objects' polygons, some thousands at a time.

    Args:
        path: of the file.
        labels: `(N,)` integers, which geopandas takes for the index.
        outlines: the polygons of each, in the same order.
        index: what the index is called.
    """
    geometry = {"encoding": "WKB", "crs": None, "geometry_types": ["Polygon", "MultiPolygon"]}
    about = {
        "geo": {
            "version": "1.0.0",
            "primary_column": "geometry",
            "columns": {"geometry": geometry},
        },
        "pandas": {
            "index_columns": [index],
            "column_indexes": [],
            "columns": [
                _described("geometry", "bytes", "object"),
                _described(index, "int64", "int64"),
            ],
        },
    }
    schema = pa.schema(
        [("geometry", pa.binary()), (index, pa.int64())],
        metadata={key: json.dumps(value) for key, value in about.items()},
    )
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as out:
        for start in range(0, max(len(labels), 1), _GROUP):
            some = labels[start : start + _GROUP]
            shapes = [wkb(each) for each in itertools.islice(outlines, len(some))]
            columns = [pa.array(shapes, pa.binary()), pa.array(some, pa.int64())]
            out.write_table(pa.table(columns, schema=schema))


def _described(name: str, kind: str, dtype: str) -> dict[str, object]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": kind,
        "numpy_type": dtype,
        "metadata": None,
    }


def _polygon(polygon: Polygon) -> bytes:
    rings = (polygon.outer, *polygon.holes)
    return struct.pack("<BII", 1, _POLYGON, len(rings)) + b"".join(map(_ring, rings))


def _ring(ring: np.ndarray) -> bytes:
    closed = np.concatenate([ring, ring[:1]]).astype("<f8")
    return struct.pack("<I", len(closed)) + closed.tobytes()
