"""Sums, minima and maxima over the rows of a long table that share a key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Groups:
    """The rows of a table, brought together by key; integers stay integers in every reduction.

    Args:
        keys: the distinct keys, ascending, `(G,)`.
        order: row numbers, sorted by key and stable within one, `(N,)`.
        starts: where in `order` each group begins, `(G,)`.
    """

    keys: npt.NDArray[np.int64]
    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]

    def sum(self, values: npt.NDArray) -> npt.NDArray:
        """Add `values` `(N, …)` up within each group, `(G, …)`, in their own dtype."""
        return self._reduce(np.add, values)

    def min(self, values: npt.NDArray) -> npt.NDArray:
        """Take the smallest of `values` `(N, …)` in each group, `(G, …)`."""
        return self._reduce(np.minimum, values)

    def max(self, values: npt.NDArray) -> npt.NDArray:
        """Take the largest of `values` `(N, …)` in each group, `(G, …)`."""
        return self._reduce(np.maximum, values)

    def counts(self) -> npt.NDArray[np.intp]:
        """Count each group's rows, `(G,)`."""
        return np.diff(self.starts, append=len(self.order))

    def index(self) -> npt.NDArray[np.intp]:
        """Name the group of every row, `(N,)`: `keys[index()]` gives the rows' keys back."""
        index = np.empty(len(self.order), np.intp)
        index[self.order] = np.repeat(np.arange(len(self.keys)), self.counts())
        return index

    def _reduce(self, reduction: np.ufunc, values: npt.NDArray) -> npt.NDArray:
        if not len(self.keys):  # reduceat refuses an empty list of starts
            return np.empty((0, *values.shape[1:]), values.dtype)
        return reduction.reduceat(values[self.order], self.starts, axis=0, dtype=values.dtype)


def group_by(keys: npt.NDArray) -> Groups:
    """Bring the rows with equal keys together.

    Args:
        keys: one integer key a row, `(N,)`.

    Example:
        >>> groups = group_by(np.array([7, 2, 7]))
        >>> groups.keys.tolist(), groups.sum(np.array([10, 1, 5])).tolist()
        ([2, 7], [1, 15])
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(keys)])
    return Groups(ordered[starts].astype(np.int64), order, starts)
