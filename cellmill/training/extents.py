"""How long objects are, beside what a network sees at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy import ndimage

#: Of all objects so many may be longer than what the network sees, in percent.
_PERCENTILE = 95


def object_lengths(labels: np.ndarray) -> np.ndarray:
    """The longer side within a plane of each object's box, `(N,)` int64, in pixels.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` integer, 0 is background.
    """
    boxes = [box for box in ndimage.find_objects(labels) if box is not None]
    return np.array([max(s.stop - s.start for s in box[-2:]) for box in boxes], np.int64)


def piece_lengths(places: np.ndarray, place: int) -> np.ndarray:
    """The lengths of a class's connected pieces that are labelled whole.

    A piece beside a pixel without a label may be part of a larger one, as scribbles are, and does
    not count.

    Args:
        places: `(Y, X)` or `(Z, Y, X)` int32, of each pixel the place of its class from 1 on; 0 is
            not labelled.
        place: of the class.
    """
    pieces, count = ndimage.label(places == place, np.ones((3,) * places.ndim))
    if not count:
        return np.zeros(0, np.int64)
    near = ndimage.maximum_filter((places == 0).astype(np.uint8), 3) > 0
    partial = np.unique(pieces[near])
    pieces[np.isin(pieces, partial)] = 0
    return object_lengths(pieces)


def extents_beside(
    lengths: Mapping[str, Iterable[np.ndarray]], receptive_field: int
) -> tuple[dict[str, Any], list[str]]:
    """Hold the lengths of objects against what the network sees, for its card.

    Args:
        lengths: by kind of object, of each image, in pixels.
        receptive_field: in pixels.

    Returns:
        By kind `objects`, and in pixels `median`, `longest` and the 95th percentile; and a warning
        for each kind of which more than one object in 20 is longer than the receptive field.
    """
    found: dict[str, Any] = {}
    warnings = []
    for kind, each in lengths.items():
        pooled = np.concatenate([np.zeros(0, np.int64), *each])
        if not len(pooled):
            continue
        late = float(np.percentile(pooled, _PERCENTILE))
        found[kind] = {
            "objects": len(pooled),
            "median": float(np.median(pooled)),
            f"percentile_{_PERCENTILE}": round(late, 1),
            "longest": int(pooled.max()),
        }
        if late > receptive_field:
            warnings.append(
                f"one in 20 objects of {kind} is longer than {late:.0f} px, and the network sees "
                f"{receptive_field} px: train on images reduced in size"
            )
    return found, warnings
