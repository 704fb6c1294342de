"""Gaussian smoothing, to the bit as scipy computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads

_TRUNCATE = 4.0
_LEAST_SIGMA = 1e-15


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian, borders mirrored, the kernel cut at 4 σ.

    Equal, bit for bit, to `scipy.ndimage.gaussian_filter`: one axis after the other, sums in
    float64 from the middle weight and then the pairs from the outermost inwards, rounded to the
    image's dtype between axes. Markers depend on single bits here, so another order of adding gives
    other objects.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, float32 or float64.
        sigma: in pixels; 0 gives the image itself.

    Returns:
        Same shape and dtype.
    """
    if not sigma > _LEAST_SIGMA or not image.size:
        return image
    weights = gaussian_weights(sigma)
    volume = np.ascontiguousarray(image).reshape((1,) * (3 - image.ndim) + image.shape)
    if image.ndim == 3:
        # Z is the first axis: as rows of the volume laid flat, (Z, Y × X).
        flat = volume.reshape(volume.shape[0], -1)
        blurred = np.empty_like(flat)
        rows = mirrored(flat.shape[0], len(weights) // 2)
        in_threads(
            lambda band: _along_columns(flat, weights, rows, blurred, band[0], band[1]),
            bands(flat.shape[0], 4),
        )
        volume = blurred.reshape(volume.shape)
    out = np.empty_like(volume)
    rows = mirrored(volume.shape[1], len(weights) // 2)
    columns = mirrored(volume.shape[2], len(weights) // 2)
    tasks = [(z, *band) for z in range(len(volume)) for band in bands(volume.shape[1])]
    in_threads(
        lambda task: _smooth_rows(
            volume[task[0]], weights, rows, columns, out[task[0]], task[1], task[2]
        ),
        tasks,
    )
    return out.reshape(image.shape)


def blur_margin(sigma: float) -> int:
    """How far from a pixel `smooth` looks, pixels."""
    return int(_TRUNCATE * sigma + 0.5) if sigma > _LEAST_SIGMA else 0


def smooth_per_axis(image: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Blur with a Gaussian of a σ of its own along each axis, borders repeated.

    One axis after the other, sums in float64, rounded to float32 between axes. Values do not depend
    on what lies farther away than `margin_per_axis`, so that a window gives those of the whole.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, float32.
        sigmas: in pixels, an axis each; 0 leaves an axis as it is.

    Returns:
        Same shape, float32; the image itself where no σ is above 0.
    """
    for axis, (sigma, radius) in enumerate(zip(sigmas, margin_per_axis(sigmas), strict=True)):
        if not radius or not image.size:
            continue
        steps = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 / (sigma * sigma) * steps**2)
        weights /= weights.sum()
        out = np.empty(image.shape, np.float32)
        # Lines along the axis are whole: bands are cut across it.
        across = image.ndim - 1 if axis == 0 else 0
        source, target = image.swapaxes(0, across), out.swapaxes(0, across)
        along = across if axis == 0 else axis

        def work(
            band: tuple[int, int],
            source: np.ndarray = source,
            target: np.ndarray = target,
            weights: np.ndarray = weights,
            along: int = along,
        ) -> None:
            part = slice(*band)
            ndimage.correlate1d(source[part], weights, along, target[part], mode="nearest")

        in_threads(work, bands(len(source)))
        image = out
    return image


def margin_per_axis(sigmas: Sequence[float]) -> tuple[int, ...]:
    """How far from a pixel `smooth_per_axis` looks along each axis, pixels: 4 σ, rounded down."""
    return tuple(int(2 * _TRUNCATE * sigma) // 2 for sigma in sigmas)


def gaussian_weights(sigma: float) -> np.ndarray:
    """Normalised weights of a Gaussian from -4 σ to 4 σ, float64."""
    radius = blur_margin(sigma)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * steps**2)
    return weights / weights.sum()


def mirrored(length: int, margin: int) -> np.ndarray:
    """Index of the pixel at each place from `-margin` on, ends mirrored: c b a, a b c, c b a."""
    places = np.arange(-margin, length + margin) % (2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)


@kernel
def _along_columns(image, weights, rows, out, start, stop):  # type: ignore[no-untyped-def]
    radius = len(weights) // 2
    width = image.shape[1]
    total = np.empty(width, np.float64)
    for y in range(start, stop):
        _weighted_rows(image, weights, rows, radius, y, total)
        for x in range(width):
            out[y, x] = total[x]


@kernel
def _weighted_rows(image, weights, rows, radius, y, total):  # type: ignore[no-untyped-def]
    middle = image[rows[y + radius]]
    weight = weights[radius]
    for x in range(len(total)):
        total[x] = middle[x] * weight
    for k in range(radius):
        above, below = image[rows[y + k]], image[rows[y + 2 * radius - k]]
        weight = weights[k]
        for x in range(len(total)):
            total[x] += (np.float64(above[x]) + np.float64(below[x])) * weight


@kernel
def _smooth_rows(image, weights, rows, columns, out, start, stop):  # type: ignore[no-untyped-def]
    """Smooth rows along both axes; the rows that are summed are kept as float64, in a ring."""
    radius = len(weights) // 2
    width = image.shape[1]
    count = 2 * radius + 1
    ring = np.empty((count, width), np.float64)
    total = np.empty(width, np.float64)
    line = np.empty(width + 2 * radius, np.float64)
    for y in range(start, start + 2 * radius):
        _widen(image[rows[y]], ring[y % count])
    for y in range(start, stop):
        last = y + 2 * radius
        _widen(image[rows[last]], ring[last % count])
        _weigh(ring[(y + radius) % count], weights[radius], total)
        for k in range(radius):
            _add_pair(ring[(y + k) % count], ring[(last - k) % count], weights[k], total)
        for x in range(width):
            # Rounded between the axes.
            out[y, x] = total[x]
            line[radius + x] = out[y, x]
        for x in range(radius):
            line[x] = line[radius + columns[x]]
            line[radius + width + x] = line[radius + columns[radius + width + x]]
        _weigh(line[radius : radius + width], weights[radius], total)
        for k in range(radius):
            far = 2 * radius - k
            _add_pair(line[k : k + width], line[far : far + width], weights[k], total)
        for x in range(width):
            out[y, x] = total[x]


@kernel
def _widen(row, wide):  # type: ignore[no-untyped-def]
    for x in range(len(wide)):
        wide[x] = row[x]


@kernel
def _weigh(row, weight, total):  # type: ignore[no-untyped-def]
    for x in range(len(total)):
        total[x] = row[x] * weight


@kernel
def _add_pair(one, other, weight, total):  # type: ignore[no-untyped-def]
    for x in range(len(total)):
        total[x] += (one[x] + other[x]) * weight
