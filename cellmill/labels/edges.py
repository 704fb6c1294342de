"""Where objects of a label image meet others."""

from __future__ import annotations

import numpy as np


def inner_edges(labels: np.ndarray) -> np.ndarray:
    """Where an object's pixel has a neighbour (of 4; of 6 in a volume) that is not its own.

    The image's own border is no edge.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integer, 0 is background.

    Returns:
        bool, of that shape.
    """
    edges = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        along, marked = labels.swapaxes(0, axis), edges.swapaxes(0, axis)
        differs = along[1:] != along[:-1]
        marked[1:] |= differs
        marked[:-1] |= differs
    return edges & (labels > 0)
