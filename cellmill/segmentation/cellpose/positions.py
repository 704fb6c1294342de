"""Positions of -1 to 1 along an axis, as torch's `grid_sample` has them, in single precision."""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel

_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)


@kernel
def inwards(place, side):  # type: ignore[no-untyped-def]
    """Bring the place of a pixel or a voxel along an axis to -1 to 1."""
    if side == 1:
        return np.float32(0)
    return np.float32(np.float32(np.float32(place) / np.float32(side - 1)) * _TWO) - _ONE


@kernel
def outwards(position, side):  # type: ignore[no-untyped-def]
    """Return the place that a position of -1 to 1 lies in, cut off."""
    if side == 1:
        return np.int64(0)
    return np.int64(np.float32((position + _ONE) * _HALF) * np.float32(side - 1))
