"""Where objects of a label image meet others."""

from __future__ import annotations

import numpy as np


def inner_edges(labels: np.ndarray) -> np.ndarray:
    """Where an object's pixel has a neighbour (of 4) of another object or of the background.

    The image's own border is no edge.

    Args:
        labels: `(Y, X)` integer, 0 is background.

    Returns:
        `(Y, X)` bool.
    """
    edges = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    return edges & (labels > 0)
