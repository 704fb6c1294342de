"""The benchmark's table as CSV and Parquet, read, checked, written and put below others."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cellmill.arrays.csv_tables import cell, csv_text
from cellmill.benchmark.columns import BY_NAME, COLUMNS, NAMES, Column
from cellmill.errors import BadInput

Row = Mapping[str, Any]


def table_csv(rows: Iterable[Row]) -> str:
    """Write rows as CSV, the columns in their order; what is not known is empty."""
    return csv_text(NAMES, ([_written(row.get(name)) for name in NAMES] for row in rows))


def table_parquet(rows: Sequence[Row]) -> bytes:
    """Write rows as Parquet; each column's metadata says what it means."""
    import pyarrow as pa
    import pyarrow.parquet

    types = {
        "text": pa.string(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "truth": pa.bool_(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    fields, arrays = [], []
    for column in COLUMNS:
        values = [row.get(column.name) for row in rows]
        if column.kind == "time":
            values = [datetime.fromisoformat(value) if value else None for value in values]
        about = {"description": column.meaning}
        fields.append(pa.field(column.name, types[column.kind], not column.required, about))
        arrays.append(pa.array(values, types[column.kind]))
    file = io.BytesIO()
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    pyarrow.parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read a table that `table_csv` or `table_parquet` wrote.

    A CSV of an earlier cellmill may lack columns that may be empty.

    Raises:
        BadInput: it is none: a column is missing or unknown, or a value is not of its kind.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        return _from_parquet(path) if is_parquet else _from_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"benchmark table '{path}'",
            expected="CSV or Parquet that the benchmark wrote",
            found=f"{type(error).__name__}: {error}",
        ) from error


def merged(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """Put tables below each other; a run's condition that is in several of them counts once."""
    found: list[Row] = []
    seen: set[tuple[str, str]] = set()
    for rows in tables:
        found += [row for row in rows if (row["run"], row["condition"]) not in seen]
        seen |= {(row["run"], row["condition"]) for row in rows}
    return found


def _from_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        _check_names(path, header)
        rows = []
        for number, line in enumerate(lines, 2):
            if len(line) != len(header):
                raise BadInput(
                    f"benchmark table '{path}', line {number}",
                    expected=f"{len(header)} values",
                    found=f"{len(line)}",
                )
            named = dict(zip(header, line, strict=True))
            rows.append({n: _value(path, number, BY_NAME[n], text) for n, text in named.items()})
    return rows


def _from_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowException as error:
        raise BadInput(
            f"benchmark table '{path}'", expected="Parquet", found=str(error).splitlines()[0]
        ) from error
    _check_names(path, table.column_names)
    rows = table.to_pylist()
    for number, row in enumerate(rows, 1):
        for name, value in row.items():
            if isinstance(value, datetime):
                value = value.isoformat(timespec="milliseconds")
            text = "" if value is None else _written(value)
            row[name] = _value(path, number, BY_NAME[name], text)
    return rows


def _check_names(path: Path, header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in BY_NAME]
    missing = [c.name for c in COLUMNS if c.required and c.name not in header]
    if unknown or missing:
        found = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}"
        raise BadInput(
            f"benchmark table '{path}'", expected="the columns of a benchmark", found=found
        )


def _value(path: Path, number: int, column: Column, text: str) -> Any:
    """A cell's text as its column's kind; None where it is empty."""
    if text == "" and not column.required:
        return "" if column.kind == "text" else None
    try:
        return _READ[column.kind](text)
    except (ValueError, KeyError):
        raise BadInput(
            f"benchmark table '{path}', row {number}, {column.name}",
            expected=f"a {column.kind} value",
            found=repr(text),
        ) from None


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _text(text: str) -> str:
    """A text as it was before `csv_tables.cell` made it safe for spreadsheets."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


def _time(text: str) -> str:
    return datetime.fromisoformat(text).isoformat(timespec="milliseconds")


_READ: Mapping[str, Callable[[str], Any]] = {
    "text": _text,
    "whole": int,
    "number": _number,
    "truth": {"true": True, "false": False}.__getitem__,
    "time": _time,
}


def _written(value: Any) -> Any:
    """A value as CSV holds it; of seconds a microsecond is enough."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else value
