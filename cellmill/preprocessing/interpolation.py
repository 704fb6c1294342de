"""Linear and nearest interpolation of any window of a resized image.

Every place and weight is computed from the pixel's position in the whole image, so a window has
just the pixels that the whole would have. The roundings are those of the two libraries that
DeepCell resizes with: OpenCV 4.11 with IPP (one channel; its last columns are rounded as the
processor's vectors end, here all are alike) and scikit-image 0.25.2 over scipy 1.15 (several).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cellmill.compute.kernels import kernel

_TRUNCATE = 4.0


def opencv_places(length: int, resized: int, start: int, stop: int) -> tuple[np.ndarray, ...]:
    """Where OpenCV's linear interpolation looks along an axis; borders are repeated.

    Args:
        length: pixels of the image.
        resized: pixels after resizing.
        start: first pixel asked for.
        stop: one past the last.

    Returns:
        The two source pixels, int64, and the weight of the second, float32.
    """
    place = (np.arange(start, stop) + 0.5) * (length / resized) - 0.5
    first = np.floor(place).astype(np.int64)
    part = (place - first).astype(np.float32)
    part[(first < 0) | (first >= length - 1)] = 0
    first = np.clip(first, 0, length - 1)
    return first, np.minimum(first + 1, length - 1), part


def scikit_image_places(
    length: int, resized: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where scikit-image's linear interpolation looks along an axis; zeros lie beyond borders.

    Returns:
        The first of the two source pixels, -1 to `length - 1`, int64, and its weight, float64.
    """
    place = (np.arange(start, stop) + 0.5) * (length / resized) - 0.5
    first = np.floor(place)
    return first.astype(np.int64), 1.0 - (place - first)


def averaging_places(
    length: int, resized: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """What pixels of a resized axis are made of: averages when it shrinks, else linear.

    Shrinking, a pixel takes what it covers, each source pixel by the part that is covered.
    Enlarging, it lies between two source pixels; borders are repeated.

    Args:
        length: pixels of the image.
        resized: pixels after resizing.
        start: first pixel asked for.
        stop: one past the last.

    Returns:
        The first source pixel of each, int64, and the weights of it and those that follow,
        `(stop - start, taps)` float64, which sum to 1; a weight beyond the image is 0.
    """
    step = length / resized
    places = np.arange(start, stop)
    if resized >= length:
        place = np.clip((places + 0.5) * step - 0.5, 0, length - 1)
        first = np.minimum(place.astype(np.int64), max(length - 2, 0))
        part = place - first
        return first, np.stack([1 - part, part], axis=1)
    low, high = places * step, np.minimum((places + 1) * step, length)
    first = low.astype(np.int64)
    taps = first[:, np.newaxis] + np.arange(int(np.ceil(step)) + 1)
    covered = np.minimum(taps + 1, high[:, np.newaxis]) - np.maximum(taps, low[:, np.newaxis])
    covered = np.maximum(covered, 0)
    return first, covered / covered.sum(axis=1, keepdims=True)


def smoothing_sigma(length: int, resized: int) -> float:
    """Deviation of scikit-image's anti-aliasing Gaussian along an axis, pixels."""
    return max(0.0, (length / resized - 1) / 2)


def smoothing_radius(sigma: float) -> int:
    """Pixels on each side that the Gaussian reaches."""
    return int(_TRUNCATE * sigma + 0.5)


def smoothed(window: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    """Blur `(Y, X, C)` in its own float dtype, zeros beyond the borders."""
    if not any(sigmas):
        return window
    blurred: np.ndarray = ndimage.gaussian_filter(
        window, (*sigmas, 0), mode="grid-constant", cval=0, truncate=_TRUNCATE
    )
    return blurred


@kernel
def interpolate_repeated(image, rows, columns, out):  # type: ignore[no-untyped-def]
    """One channel, float32 `(Y, X)`: across, then down, each a product and a sum rounded once.

    `rows` and `columns` are what `opencv_places` gives, counted from the window's first pixel.
    The sums are those of a processor with fused products, which OpenCV uses where there is one.
    """
    upper, lower, down = rows
    left, right, across = columns
    lines = np.empty((2, len(across)), np.float32)
    held = np.full(2, -1, np.int64)
    for y in range(len(down)):
        for k, row in ((0, upper[y]), (1, lower[y])):
            if held[k] == row:
                continue
            if k == 0 and held[1] == row:
                lines[0] = lines[1]
            else:
                source = image[row]
                for x in range(len(across)):
                    a = source[left[x]]
                    step = np.float64(source[right[x]] - a)
                    lines[k, x] = np.float32(a + step * np.float64(across[x]))
            held[k] = row
        part = np.float64(down[y])
        for x in range(len(across)):
            a = lines[0, x]
            out[y, x] = np.float32(a + np.float64(lines[1, x] - a) * part)


@kernel
def interpolate_darkened(image, rows, columns, low, high, out):  # type: ignore[no-untyped-def]
    """Several channels, `(Y, X, C)` float: four terms in float64, cut off at the extremes.

    `rows` and `columns` are what `scikit_image_places` gives, counted from the window's first
    pixel; what lies outside of the window is zero.
    """
    first_row, weight_row = rows
    first_column, weight_column = columns
    height, width = image.shape[0], image.shape[1]
    for y in range(len(first_row)):
        y0, top = first_row[y], weight_row[y]
        bottom = 1.0 - top
        for x in range(len(first_column)):
            x0, left = first_column[x], weight_column[x]
            right = 1.0 - left
            for c in range(image.shape[2]):
                total = 0.0
                if y0 >= 0:
                    if x0 >= 0:
                        total += image[y0, x0, c] * top * left
                    if x0 + 1 < width:
                        total += image[y0, x0 + 1, c] * top * right
                if y0 + 1 < height:
                    if x0 >= 0:
                        total += image[y0 + 1, x0, c] * bottom * left
                    if x0 + 1 < width:
                        total += image[y0 + 1, x0 + 1, c] * bottom * right
                out[y, x, c] = total
                out[y, x, c] = min(max(out[y, x, c], low), high)


@kernel
def interpolate_averaged(image, rows, columns, out):  # type: ignore[no-untyped-def]
    """Any channels, `(Y, X, C)`: sums of weighted pixels in float64.

    `rows` and `columns` are what `averaging_places` gives, counted from the window's first pixel.
    """
    first_row, down = rows
    first_column, across = columns
    for y in range(len(first_row)):
        for x in range(len(first_column)):
            for c in range(image.shape[2]):
                out[y, x, c] = 0.0
            for i in range(down.shape[1]):
                if down[y, i] == 0.0:
                    continue
                for j in range(across.shape[1]):
                    weight = down[y, i] * across[x, j]
                    if weight == 0.0:
                        continue
                    for c in range(image.shape[2]):
                        value = np.float64(image[first_row[y] + i, first_column[x] + j, c])
                        out[y, x, c] += weight * value
