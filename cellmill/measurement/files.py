"""Measurement tables as CSV and Parquet; equal tables give equal bytes."""

from __future__ import annotations

from typing import IO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cellmill.arrays.csv_tables import cell, csv_text

#: Rows of a row group.
_ROWS = 1 << 16


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    r"""Write a table as CSV: UTF-8, a header, nulls empty, floats with all their digits.

    A text that a spreadsheet would run as a formula is written as `csv_tables.cell` says.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_csv(pa.table({"label": [1, 2], "mean_a,b": [0.5, None]}), file)
        >>> file.getvalue()
        b'label,"mean_a,b"\n1,0.5\n2,\n'
    """
    file.write(csv_text(table.column_names).encode())
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(index, field, _cells(table.column(index)))
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(table, file, options)


def _cells(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of texts as cells; each different text is looked at once."""
    column = texts.dictionary_encode().unify_dictionaries()
    if not column.num_chunks:
        return texts
    safe = pa.array([cell(text) for text in column.chunk(0).dictionary.to_pylist()], texts.type)
    return pa.chunked_array([safe.take(chunk.indices) for chunk in column.chunks], texts.type)


def write_parquet(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as Parquet, with the schema's metadata; no date goes into the file.

    Row groups are small, so that readers need not hold the tables of a million objects.
    """
    pyarrow.parquet.write_table(table, file, compression="zstd", row_group_size=_ROWS)
