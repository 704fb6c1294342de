"""Objects of a label image in memory: small ones dropped, holes filled, numbered, all in place.

Whole images are as large as memory bears, and fresh memory costs as much as work: one table of the
objects takes the place of a label image for each step.
"""

from __future__ import annotations

import numpy as np

from cellmill.labels.holes import fill_objects, outlines
from cellmill.labels.numbering import renumber
from cellmill.labels.objects import objects_at_border, small_objects


def finish_objects(
    labels: np.ndarray,
    highest: int,
    *,
    small: float = 0,
    small_fraction: float = 0,
    holes: float = 0,
    by_id: bool = False,
) -> None:
    """Do in place what `remove_small_objects`, `fill_holes` and a renumbering do in turn.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)`, int32, contiguous; written to.
        highest: no id is above it.
        small: objects with fewer pixels (voxels) are dropped.
        small_fraction: those below this part of the median area are dropped too; see
            `cellmill.labels.objects.small_objects`.
        holes: in 2-D, holes with fewer pixels are filled.
        by_id: number the objects in the order of the ids that they have, not of their first pixels.
    """
    found = outlines(labels.reshape(-1, labels.shape[-1]), highest)
    areas = found.areas
    areas[0] = 0
    cut = objects_at_border(labels, highest + 1)
    areas[small_objects(areas, cut, small, small_fraction)] = 0
    if holes > 1 and labels.ndim == 2:
        fill_objects(labels, found, holes)
    order = np.flatnonzero(areas)
    if not by_id:
        order = order[np.argsort(found.first[order])]
    numbers = np.zeros(highest + 1, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    renumber(labels, numbers)
