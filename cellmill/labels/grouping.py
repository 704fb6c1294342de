"""Sums, minima and maxima over the rows of a long table that share a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel

Table = TypeVar("Table")
#: So many rows are added up rather than kept.
_MANY = 1 << 18
#: Spreads keys over a table: 2^64 / golden ratio (Knuth, TAOCP volume 3, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Groups:
    """The rows of a table, brought together by key; every reduction keeps the dtype.

    Args:
        keys: the distinct keys, ascending, `(G,)`.
        index: the group of every row, `(N,)`: `keys[index]` gives the rows' keys back.
    """

    keys: npt.NDArray[np.int64]
    index: npt.NDArray[np.intp]

    def sum(self, values: npt.NDArray) -> npt.NDArray:
        """Add `values` `(N, …)` up within each group, row after row, `(G, …)`."""
        return self._reduce(_add, values, lambda dtype: dtype.type(0))

    def min(self, values: npt.NDArray) -> npt.NDArray:
        """Take the smallest of integers `(N, …)` in each group, `(G, …)`."""
        return self._reduce(_lower, values, lambda dtype: np.iinfo(dtype).max)

    def max(self, values: npt.NDArray) -> npt.NDArray:
        """Take the largest of integers `(N, …)` in each group, `(G, …)`."""
        return self._reduce(_raise, values, lambda dtype: np.iinfo(dtype).min)

    def _reduce(
        self, reduce: Any, values: npt.NDArray, neutral: Callable[[np.dtype], Any]
    ) -> npt.NDArray:
        shape = (len(self.keys), *values.shape[1:])
        found = np.full(shape, neutral(values.dtype), values.dtype)
        if found.size:
            columns = (-1, found.size // len(found))
            reduce(self.index, values.reshape(columns), found.reshape(columns))
        return found


def group_by(keys: npt.NDArray) -> Groups:
    """Bring the rows with equal keys together.

    Args:
        keys: one integer key a row, up to 2^63-1, `(N,)`.

    Example:
        >>> groups = group_by(np.array([7, 2, 7]))
        >>> groups.keys.tolist(), groups.sum(np.array([10, 1, 5])).tolist()
        ([2, 7], [1, 15])
    """
    found, index = _distinct(keys.astype(np.int64, copy=False))
    order = np.argsort(found)
    rank = np.empty(len(found), np.intp)
    rank[order] = np.arange(len(found))
    return Groups(found[order], rank[index])


class RunningSum(Generic[Table]):
    """Adds tables of the parts of an image up as they come: holds a few times what the sum takes.

    Args:
        add: gives the sum of several tables.
        size: how many rows a table has.
    """

    def __init__(
        self, add: Callable[[Iterable[Table]], Table], size: Callable[[Table], int]
    ) -> None:
        self._add, self._size = add, size
        self._tables: list[Table] = []
        self._rows, self._limit = 0, _MANY

    def add(self, table: Table) -> None:
        """Take the next part's table."""
        self._tables.append(table)
        self._rows += self._size(table)
        if self._rows > self._limit:
            self._tables = [self.total()]
            self._rows = self._size(self._tables[0])
            self._limit = 2 * self._rows + _MANY

    def total(self) -> Table:
        """The sum of all that came."""
        return self._add(self._tables)


@kernel
def _distinct(keys):  # type: ignore[no-untyped-def]
    """Number the distinct keys as they come; a hash table with open addresses that doubles."""
    bits = 10
    table = np.full(1 << bits, -1, np.int64)
    found = np.empty(1 << (bits - 1), np.int64)
    count = 0
    index = np.empty(len(keys), np.int64)
    for row in range(len(keys)):
        key = keys[row]
        if row and key == keys[row - 1]:
            index[row] = index[row - 1]
            continue
        mask = (1 << bits) - 1
        at = np.int64((np.uint64(key) * _SPREAD) >> np.uint64(64 - bits))
        while table[at] >= 0 and found[table[at]] != key:
            at = (at + 1) & mask
        if table[at] >= 0:
            index[row] = table[at]
            continue
        if count == len(found):
            bits += 1
            mask = (1 << bits) - 1
            more = np.empty(1 << (bits - 1), np.int64)
            more[:count] = found
            found = more
            table = np.full(1 << bits, -1, np.int64)
            for old in range(count):
                at = np.int64((np.uint64(found[old]) * _SPREAD) >> np.uint64(64 - bits))
                while table[at] >= 0:
                    at = (at + 1) & mask
                table[at] = old
            at = np.int64((np.uint64(key) * _SPREAD) >> np.uint64(64 - bits))
            while table[at] >= 0:
                at = (at + 1) & mask
        table[at] = count
        found[count] = key
        index[row] = count
        count += 1
    return found[:count].copy(), index


@kernel
def _add(index, values, out):  # type: ignore[no-untyped-def]
    for row in range(len(index)):
        for column in range(values.shape[1]):
            out[index[row], column] += values[row, column]


@kernel
def _lower(index, values, out):  # type: ignore[no-untyped-def]
    for row in range(len(index)):
        for column in range(values.shape[1]):
            if values[row, column] < out[index[row], column]:
                out[index[row], column] = values[row, column]


@kernel
def _raise(index, values, out):  # type: ignore[no-untyped-def]
    for row in range(len(index)):
        for column in range(values.shape[1]):
            if values[row, column] > out[index[row], column]:
                out[index[row], column] = values[row, column]
