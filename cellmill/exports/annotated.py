"""Measurements as AnnData, for scanpy and squidpy: a row an object, a column a channel.

`X` has the mean intensities, `layers` the other figures of channels, `obs` what is no channel's,
`obsm["spatial"]` where objects lie. Source: AnnData's on-disk format 0.1.0, anndata.readthedocs.io.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cellmill.exports.hierarchy import Array, Group
from cellmill.measurement.table import CHANNEL_COLUMNS

#: The column of the table, and of `obs`, that says of which kind an object is.
KIND = "compartment"
#: And the one that says which of its label image it is.
INSTANCE = "label"
_FIRST = "mean"


def annotated(
    table: pa.Table,
    channels: Sequence[str],
    *,
    mpp: tuple[float, ...] | None = None,
    about: Mapping[str, str] | None = None,
    kinds: Sequence[str] = (),
) -> Group:
    """Put measurements into AnnData's form.

    Args:
        table: as `cellmill.measurement` makes it, N objects of one or several kinds.
        channels: suffixes of its channels' columns, C of them.
        mpp: µm per pixel along (y, x), or (z, y, x), None where unknown.
        about: texts to be kept with it, in `uns`.
        kinds: to be named as regions that the table annotates, as SpatialData wants it; none for
            plain AnnData.

    Returns:
        The root group: `X` (N, C) float64, NaN for none; `obs` with a row an object, named
        `<kind> <label>`; `obsm["spatial"]` (N, 2) x and y, or (N, 3) x, y and z, of its centre, in
        µm, or pixels where their size is unknown, from the image's first corner.
    """
    figures = {what: _matrix(table, what, channels) for what in CHANNEL_COLUMNS}
    called = zip(table[KIND].to_pylist(), table[INSTANCE].to_pylist(), strict=True)
    names = [f"{kind} {label}" for kind, label in called]
    of_channels = {f"{what}_{name}" for what in CHANNEL_COLUMNS for name in channels}
    columns = [c for c in table.column_names if c not in of_channels]
    uns: dict[str, Array | Group] = {key: _text(text) for key, text in (about or {}).items()}
    uns["spatial_unit"] = _text("micrometer" if mpp else "pixel")
    if mpp:
        uns["pixel_size_um"] = _array(np.array(mpp, np.float64))
    attributes: dict[str, Any] = {}
    if kinds:
        regions = {"region_key": _text(KIND), "instance_key": _text(INSTANCE)}
        uns["spatialdata_attrs"] = _dict({**regions, "region": _strings(kinds)})
        attributes = {
            "spatialdata-encoding-type": "ngff:regions_table",
            "region": list(kinds),
            "region_key": KIND,
            "instance_key": INSTANCE,
            "version": "0.2",
        }
    members: dict[str, Array | Group] = {
        "X": _array(figures.pop(_FIRST)),
        "layers": _dict({what: _array(values) for what, values in figures.items()}),
        "obs": _frame(names, {c: _column(table[c]) for c in columns}),
        "var": _frame(list(channels), {}),
        "obsm": _dict({"spatial": _array(_places(table, mpp))}),
        **{empty: _dict({}) for empty in ("varm", "obsp", "varp")},
        "uns": _dict(uns),
    }
    return Group(members, _encoded("anndata", "0.1.0") | attributes)


def _matrix(table: pa.Table, what: str, channels: Sequence[str]) -> np.ndarray:
    """One figure of all channels, `(N, C)`."""
    columns = [_floats(table[f"{what}_{name}"]) for name in channels]
    return np.stack(columns, axis=-1) if columns else np.zeros((len(table), 0))


def _places(table: pa.Table, mpp: tuple[float, ...] | None) -> np.ndarray:
    """Where objects' centres are, x first, from the corner of the first pixel."""
    axes = "xyz" if "centroid_z_px" in table.column_names else "xy"
    sizes = mpp[::-1] if mpp else (1.0,) * len(axes)
    found = [
        (_floats(table[f"centroid_{axis}_px"]) + 0.5) * size
        for axis, size in zip(axes, sizes, strict=True)
    ]
    return np.stack(found, axis=-1)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers, NaN where there is none."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _column(column: pa.ChunkedArray) -> Array | Group:
    """A column of `obs` in the form of its type."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _categories(column)
    if pa.types.is_floating(kind):
        return _array(_floats(column))
    if not column.null_count:
        return _array(np.asarray(column))
    boolean = pa.types.is_boolean(kind)
    values = np.asarray(column.fill_null(False if boolean else 0))
    members = {"values": _array(values), "mask": _array(np.asarray(column.is_null()))}
    return Group(members, _encoded(f"nullable-{'boolean' if boolean else 'integer'}", "0.1.0"))


def _categories(column: pa.ChunkedArray) -> Group:
    texts = np.array(column.to_pylist(), object)
    names = list(dict.fromkeys(text for text in texts if text is not None))
    places = {name: k for k, name in enumerate(names)}
    codes = np.array([places.get(text, -1) for text in texts], np.int32)
    members = {"codes": _array(codes), "categories": _strings(names)}
    return Group(members, {**_encoded("categorical", "0.2.0"), "ordered": False})


def _frame(index: Sequence[str], columns: Mapping[str, Array | Group]) -> Group:
    attributes = {"_index": "_index", "column-order": list(columns)}
    return Group(
        {"_index": _strings(index), **columns}, _encoded("dataframe", "0.2.0") | attributes
    )


def _dict(members: Mapping[str, Array | Group]) -> Group:
    return Group(members, _encoded("dict", "0.1.0"))


def _array(values: np.ndarray) -> Array:
    return Array(values, _encoded("array", "0.2.0"))


def _strings(texts: Sequence[str]) -> Array:
    return Array(np.array(texts, object).reshape(-1), _encoded("string-array", "0.2.0"))


def _text(text: str) -> Array:
    return Array(np.array(text, object), _encoded("string", "0.2.0"))


def _encoded(kind: str, version: str) -> dict[str, Any]:
    return {"encoding-type": kind, "encoding-version": version}
