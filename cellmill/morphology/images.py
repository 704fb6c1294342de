"""Images that callers give, checked before kernels read them: these know no shape and no NaN."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cellmill.arrays.finite import require_finite
from cellmill.errors import BadInput


def checked_image(image: npt.ArrayLike, what: str = "image") -> np.ndarray:
    """An image or a volume as float32 or float64.

    Integers that float32 holds exactly, and booleans, become float32; wider ones float64.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, real numbers.
        what: its name in error messages.

    Raises:
        BadInput: it has other axes, no real numbers, or holds NaN or infinity.
    """
    given = np.asarray(image)
    if given.ndim not in (2, 3):
        raise BadInput(what, expected="(Y, X) or (Z, Y, X)", found=f"shape {given.shape}")
    if given.dtype.kind not in "fiub" or given.dtype.itemsize > 8:
        raise BadInput(what, expected="real numbers", found=f"{given.dtype}")
    exact = given.astype(np.result_type(given.dtype, np.float32).newbyteorder("="), copy=False)
    require_finite(exact, what)
    return exact


def checked_markers(markers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Markers of a flood as int32 of the image's shape.

    Raises:
        BadInput: they are no integers, of another shape, below 0 or above 2³¹ - 1.
    """
    given = np.asarray(markers)
    if given.shape != shape or given.dtype.kind not in "iub":
        raise BadInput(
            "markers", expected=f"integers of shape {shape}", found=f"{given.dtype} {given.shape}"
        )
    low, high = (int(given.min()), int(given.max())) if given.size else (0, 0)
    if low < 0 or high > np.iinfo(np.int32).max:
        raise BadInput("markers", expected="0 to 2³¹ - 1", found=f"{low if low < 0 else high}")
    return given.astype(np.int32, copy=False)


def ranked(height: np.ndarray) -> np.ndarray:
    """Float32 in the order of float64 values: themselves if they fit, else their ranks."""
    narrow = height.astype(np.float32)
    if np.array_equal(narrow, height):
        return narrow
    ranks = np.unique(height, return_inverse=True)[1].reshape(height.shape)
    return ranks.astype(np.uint32).view(np.float32)
