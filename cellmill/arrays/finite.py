"""Refusing NaN and infinity before anything is computed from them."""

from __future__ import annotations

import numpy as np

from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput

_ROWS = 256


def require_finite(image: np.ndarray, what: str = "image") -> None:
    """Count the values that are NaN or infinite and refuse the image if there are any.

    The image is read in bands of 256 rows, and what is computed of it is as large as a band.

    Args:
        image: `(Y, X, C)` or `(Y, X)`, integers always pass unread.
        what: the image's name in the error message.

    Raises:
        BadInput: at least one value is not finite; the message has the counts.
    """
    if image.dtype.kind not in "fc":
        return

    def count(y: int) -> tuple[int, int]:
        band = image[y : y + _ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            # A sum is quick, and finite only if all values are.
            if np.isfinite(band.sum()):
                return 0, 0
        finite = np.isfinite(band)
        if finite.all():
            return 0, 0
        nan = int(np.isnan(band).sum())
        return nan, int(finite.size - finite.sum()) - nan

    counts = in_threads(count, range(0, image.shape[0], _ROWS))
    nan, infinite = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if nan or infinite:
        raise BadInput(
            what,
            expected="finite pixel values",
            found=f"{nan} NaN and {infinite} infinite of {image.size} values",
        )
