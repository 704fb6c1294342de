"""Which objects are kept: not too large, of the flows that the network gave, not too small."""

from __future__ import annotations

import numpy as np

from cellmill.segmentation.cellpose.parameters import CellposeParameters


def too_large(areas: np.ndarray, pixels: int, parameters: CellposeParameters) -> np.ndarray:
    """Say which objects are more than the allowed part of an image of so many pixels."""
    found: np.ndarray = areas > pixels * parameters.max_size_fraction
    return found


def too_small(
    areas: np.ndarray, numbers: np.ndarray, pixels: int, parameters: CellposeParameters
) -> np.ndarray:
    """Say which objects are taken for small ones.

    The reference, cellpose 3.1.1.3, looks for areas that are too small in a list of those of the
    objects that there are, without the first entry, which it takes for the background's, and drops
    the objects of which the *numbers* are the places in the list. Once any object is gone, or
    where no background is left, they are other objects.

    Args:
        areas: of the objects that there are, in the order of their numbers.
        numbers: those that they have, from 1 on; some may be missing.
        pixels: of the image.
        parameters: `min_size` and `rule` count.

    Returns:
        bool, one for each object.
    """
    small: np.ndarray = areas < parameters.min_size
    if parameters.min_size <= 0 or parameters.rule == "right":
        return small
    if parameters.rule == "cellpose4":
        # Where no background is left the first object is taken for it.
        small[:1] &= areas.sum() < pixels
        return small
    listed = small if areas.sum() < pixels else small[1:]
    return np.isin(numbers, 1 + np.flatnonzero(listed))
