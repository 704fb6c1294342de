"""The objects in sight: those of a band, numbered, in the order of their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellmill.compute.kernels import kernel
from cellmill.labels.grouping import group_by
from cellmill.labels.runs import find_runs
from cellmill.measurement.regions import Regions
from cellmill.measurement.solids import Solids


@dataclass(frozen=True)
class Numbered:
    """A window of a label image by the rows of a table of objects.

    Args:
        objects: rows of the objects in the window, ascending, `(K,)`.
        ranks: for each pixel its object, numbered from 1 in `objects`, or 0, int32 `(Y, X)`.
        runs_of: the row of each run's object, of the runs of objects in the band's own rows.
        starts: their first pixels in the flattened own rows.
        lengths: their pixels.
    """

    objects: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int32]
    runs_of: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def number_objects(window: npt.NDArray, regions: Regions | Solids, rows: slice) -> Numbered:
    """Number the objects of a window.

    Args:
        window: labels `(Y, X)`.
        regions: all objects of the image, or of the volume that it is a plane of.
        rows: the band's own rows in the window.
    """
    runs = find_runs(window)
    real = runs.labels > 0
    starts, lengths = runs.starts[real], runs.lengths[real]
    groups = group_by(runs.labels[real])
    objects = np.searchsorted(regions.labels, groups.keys)
    ranks = np.zeros(window.shape, np.int32)
    _paint(starts, lengths, groups.index, ranks.reshape(-1))
    edges = np.array([rows.start, rows.stop]) * window.shape[1]
    own = slice(*np.searchsorted(starts, edges))
    return Numbered(
        objects, ranks, objects[groups.index[own]], starts[own] - edges[0], lengths[own]
    )


@kernel
def _paint(starts, lengths, index, out):  # type: ignore[no-untyped-def]
    for run in range(len(starts)):
        out[starts[run] : starts[run] + lengths[run]] = index[run] + 1
