"""Which nucleus lies in which cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.labels.pairs import LabelPairs


@dataclass(frozen=True)
class NucleiInCells:
    """Nuclei and cells joined, each by ascending label.

    Args:
        cell_of_nucleus: label of each nucleus's cell, 0 for none, int64 `(N,)`.
        nucleus_to_cell: area of each nucleus / area of its cell, NaN for none, `(N,)`.
        nuclei_of_cell: number of each cell's nuclei, `(M,)`.
        nuclei_to_cell: total area of each cell's nuclei / its own, NaN without any, `(M,)`.
    """

    cell_of_nucleus: npt.NDArray[np.int64]
    nucleus_to_cell: npt.NDArray[np.float64]
    nuclei_of_cell: npt.NDArray[np.int64]
    nuclei_to_cell: npt.NDArray[np.float64]


def join_nuclei(pairs: LabelPairs) -> NucleiInCells:
    """Give each nucleus to the cell it shares most pixels with; of equals, to the lowest label.

    The areas are those of whole objects: a nucleus that sticks out of its cell is not cut.

    Args:
        pairs: overlaps of nuclei (as `truth`) and cells (as `predicted`).

    Example:
        >>> from cellmill.labels.pairs import pair_labels
        >>> nuclei, cells = np.array([[0, 1, 0, 2]]), np.array([[3, 3, 3, 0]])
        >>> joined = join_nuclei(pair_labels(nuclei, cells))
        >>> joined.cell_of_nucleus.tolist(), joined.nuclei_of_cell.tolist()
        ([3, 0], [1])
    """
    order = np.lexsort((pairs.predicted_index, -pairs.overlaps, pairs.truth_index))
    nucleus, first = np.unique(pairs.truth_index[order], return_index=True)
    cell = pairs.predicted_index[order[first]]
    nuclei, cells = pairs.truth, pairs.predicted
    cell_of_nucleus = np.zeros(len(nuclei), np.int64)
    cell_of_nucleus[nucleus] = cells.labels[cell]
    nucleus_to_cell = np.full(len(nuclei), np.nan)
    nucleus_to_cell[nucleus] = nuclei.areas[nucleus] / cells.areas[cell]
    count = np.bincount(cell, minlength=len(cells))
    area = np.bincount(cell, weights=nuclei.areas[nucleus], minlength=len(cells))
    nuclei_to_cell = np.where(count > 0, area / np.maximum(cells.areas, 1), np.nan)
    return NucleiInCells(cell_of_nucleus, nucleus_to_cell, count, nuclei_to_cell)
