"""Measurement tables as CSV and Parquet; equal tables give equal bytes."""

from __future__ import annotations

import csv
import io
from typing import IO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    r"""Write a table as CSV: UTF-8, a header, nulls empty, floats with all their digits.

    Example:
        >>> file = io.BytesIO()
        >>> write_csv(pa.table({"label": [1, 2], "mean_a,b": [0.5, None]}), file)
        >>> file.getvalue()
        b'label,"mean_a,b"\n1,0.5\n2,\n'
    """
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(table.column_names)
    file.write(header.getvalue().encode())
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(table, file, options)


def write_parquet(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as Parquet, with the schema's metadata; no date goes into the file."""
    pyarrow.parquet.write_table(table, file, compression="zstd")
