"""Tables of objects that are read in parts, so that what is held does not grow with the objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

#: Rows of a part of a table that is in memory; files have their own row groups.
_PART = 1 << 16
#: Parts that are held: one after another is read, and objects next to each other may lie in two.
_HELD = 8


class TableInParts:
    """Measurements, as `cellmill.measurement` makes them, in memory or in a Parquet file.

    Args:
        source: the table, or the path of the file.

    Attributes:
        column_names: what is measured, in the table's order.
    """

    def __init__(self, source: pa.Table | Path) -> None:
        self._source = source
        if isinstance(source, pa.Table):
            self.column_names = list(source.column_names)
            counts = [_PART] * (len(source) // _PART) + [len(source) % _PART]
        else:
            about = pyarrow.parquet.read_metadata(source)
            self.column_names = list(about.schema.to_arrow_schema().names)
            counts = [about.row_group(k).num_rows for k in range(about.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._held: OrderedDict[tuple[int, tuple[str, ...]], np.ndarray] = OrderedDict()

    def whole(self) -> pa.Table:
        """Read all of it, for what cannot be done in parts."""
        if isinstance(self._source, pa.Table):
            return self._source
        return pyarrow.parquet.read_table(self._source)

    def parts(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read some columns, one part after another."""
        for k in range(len(self._starts) - 1):
            yield self._read(k, list(columns))

    def numbers(self, rows: np.ndarray, columns: Sequence[str]) -> np.ndarray:
        """Read columns of numbers at some rows; rows near each other are best asked for together.

        Args:
            rows: `(N,)` places in the table.
            columns: C names.

        Returns:
            `(C, N)` float64, NaN where there is no figure.
        """
        found = np.empty((len(columns), len(rows)))
        parts = np.searchsorted(self._starts, rows, "right") - 1
        for part in np.unique(parts):
            here = parts == part
            numbers = self._numbers(int(part), tuple(columns))
            found[:, here] = numbers[:, rows[here] - self._starts[part]]
        return found

    def _numbers(self, k: int, columns: tuple[str, ...]) -> np.ndarray:
        """All rows of a part, `(C, N)`."""
        if (k, columns) in self._held:
            self._held.move_to_end((k, columns))
            return self._held[k, columns]
        part = self._read(k, list(columns))
        found = np.empty((len(columns), len(part)))
        for place, name in enumerate(columns):
            found[place] = part[name].cast(pa.float64(), safe=False).to_numpy()
        self._held[k, columns] = found
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return found

    def _read(self, k: int, columns: list[str]) -> pa.Table:
        if isinstance(self._source, pa.Table):
            return self._source.select(columns).slice(self._starts[k], _PART)
        # Opened for each part: a series has a file for each of its time points.
        with pyarrow.parquet.ParquetFile(self._source) as file:
            return file.read_row_group(k, columns=columns)


def in_parts(table: pa.Table | TableInParts) -> TableInParts:
    """A table to be read in parts."""
    return table if isinstance(table, TableInParts) else TableInParts(table)


def whole(table: pa.Table | TableInParts) -> pa.Table:
    """A table that is in memory."""
    return table.whole() if isinstance(table, TableInParts) else table
