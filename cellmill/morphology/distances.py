"""How far pixels of a mask are from what is outside of it, up to a distance that is enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads


def capped_distances(
    mask: np.ndarray, most: float, spacing: Sequence[float] | None = None
) -> np.ndarray:
    """Distance of each pixel of a mask from the nearest one outside, at most `most`.

    The border of the mask is no edge. Squares of distances are lowered along one axis after the
    other (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012, 2), by looking at the pixels
    around as far as any of them may count. A value is the least of sums that hang on two pixels
    each: one that is found in a window is that of the whole where no pixel beyond can be as near.

    Args:
        mask: `(Y, X)` or `(Z, Y, X)`, bool.
        most: in units of the spacing.
        spacing: of pixels along each axis; none is 1.

    Returns:
        float32 of the same shape, 0 outside the mask.

    Example:
        >>> capped_distances(np.array([[0, 1, 1, 1, 1, 1]], bool), most=4).tolist()
        [[0.0, 1.0, 2.0, 3.0, 4.0, 4.0]]
    """
    steps = [1.0] * (3 - mask.ndim) + [float(s) for s in spacing or (1.0,) * mask.ndim]
    volume = mask.reshape((1,) * (3 - mask.ndim) + mask.shape)
    squares = np.empty(volume.shape, np.float64)
    most = float(most)

    def along_planes(band: tuple[int, int]) -> None:
        for z in range(*band):
            _along_rows(volume[z], steps[2], most, squares[z])
            _lower(squares[z].copy(), steps[1], squares[z])

    def along_depth(band: tuple[int, int]) -> None:
        for y in range(*band):
            _lower(squares[:, y].copy(), steps[0], squares[:, y])

    in_threads(along_planes, bands(volume.shape[0], 1))
    if volume.shape[0] > 1:
        in_threads(along_depth, bands(volume.shape[1], 8))
    return np.sqrt(squares, out=squares).astype(np.float32).reshape(mask.shape)


@kernel
def _along_rows(mask, step, most, squares):  # type: ignore[no-untyped-def]
    """Squares of distances from the nearest pixel of the row that is outside the mask."""
    height, width = mask.shape
    for y in range(height):
        for back in range(2):
            away = most
            pixels = 0
            met = False
            for i in range(width):
                x = width - 1 - i if back else i
                if not mask[y, x]:
                    met, pixels = True, 0
                pixels += 1
                away = min(most, (pixels - 1) * step) if met else most
                if back:
                    squares[y, x] = min(squares[y, x], away * away)
                else:
                    squares[y, x] = away * away


@kernel
def _lower(before, step, squares):  # type: ignore[no-untyped-def]
    """Lower the squares in each row by what the rows around it allow."""
    height, width = squares.shape
    for y in range(height):
        own = squares[y]
        highest = own.max() if width else 0.0
        for k in range(1, height):
            apart = (k * step) * (k * step)
            if apart >= highest:
                break
            for other in (y - k, y + k):
                if not 0 <= other < height:
                    continue
                row = before[other]
                highest = 0.0
                for x in range(width):
                    own[x] = min(own[x], row[x] + apart)
                    highest = max(highest, own[x])
