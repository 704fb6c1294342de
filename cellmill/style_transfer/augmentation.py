"""How crops vary: the axes of planes swapped and turned round, a gain, an offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Greatest gain and offset, of standardised grey values.
GAIN, OFFSET = 0.05, 0.05


def varied(random: np.random.Generator, image: np.ndarray, *others: np.ndarray) -> Sequence[Any]:
    """Vary a plane, or a volume, whose sections vary alike; and turn others with it.

    Args:
        random: what is drawn from.
        image: `(Y, X)` or `(Z, Y, X)` float32, standardised, Y = X.
        *others: truths of the same shape, which keep their values.
    """
    swap, up, left = (bool(n) for n in random.integers(2, size=3))
    gain, offset = random.uniform(1, 1 + GAIN), random.uniform(-OFFSET, OFFSET)
    over = image.ndim == 3 and bool(random.integers(2))
    turned = []
    for plane in (image, *others):
        plane = plane[::-1] if over else plane
        plane = plane.swapaxes(-1, -2) if swap else plane
        plane = plane[..., ::-1, :] if up else plane
        turned.append(plane[..., ::-1] if left else plane)
    turned[0] = (turned[0] * np.float32(gain) + np.float32(offset)).astype(np.float32)
    return turned
