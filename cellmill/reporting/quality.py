"""Measures of an image's and a segmentation's quality: arrays in, values out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

_STRIP_PIXELS = 1 << 22
_CAMERA_BITS = (8, 10, 12, 14, 16)
_OUTLIER_SCORE = 3.5


@dataclass(frozen=True)
class ChannelQuality:
    """Quality of one channel.

    Attributes:
        minimum: least value.
        maximum: greatest value.
        mean: mean value.
        saturation_value: the value at which pixels count as saturated, None for a float channel,
            which has no such value.
        saturated_fraction: of pixels at that value, 0–1; None for a float channel.
        zero_fraction: of pixels that are exactly 0, 0–1.
        empty: whether all pixels have one value.
        focus: sharpness, see ``focus_measure``.
    """

    minimum: float
    maximum: float
    mean: float
    saturation_value: float | None
    saturated_fraction: float | None
    zero_fraction: float
    empty: bool
    focus: float


@dataclass(frozen=True)
class ObjectQuality:
    """Quality of a set of objects.

    Attributes:
        count: number of objects.
        median_area_px: median area in px; NaN without objects.
        median_diameter_px: diameter in px of the circle of that area.
        per_mm2: objects per square millimetre of image; None where the pixel size is unknown.
        outliers: number of objects whose area is an outlier, see ``area_outliers``.
    """

    count: int
    median_area_px: float
    median_diameter_px: float
    per_mm2: float | None
    outliers: int


def channel_quality(channel: np.ndarray) -> ChannelQuality:
    """Assess one channel, read strip by strip.

    Saturation is looked for at the end of the dtype's range, and, where the image's maximum is
    2ᵏ - 1 for a camera's usual 8, 10, 12 or 14 bits stored in 16, there.

    Args:
        channel: ``(Y, X)``, uint8, uint16 or float, with at least one pixel.
    """
    levels = _saturation_levels(channel.dtype)
    minimum, maximum, total, zeros = np.inf, -np.inf, 0.0, 0
    at_level = dict.fromkeys(levels, 0)
    for top, bottom in _strips(channel.shape):
        block = np.ascontiguousarray(channel[top:bottom])
        minimum, maximum = min(minimum, float(block.min())), max(maximum, float(block.max()))
        total += float(block.sum(dtype=np.float64))
        zeros += block.size - int(np.count_nonzero(block))
        for level in levels:
            at_level[level] += int(np.count_nonzero(block == level))
    level = maximum if maximum in levels else max(levels, default=None)
    return ChannelQuality(
        minimum=minimum,
        maximum=maximum,
        mean=total / channel.size,
        saturation_value=level,
        saturated_fraction=None if level is None else at_level[level] / channel.size,
        zero_fraction=zeros / channel.size,
        empty=minimum == maximum,
        focus=focus_measure(channel),
    )


def focus_measure(channel: np.ndarray) -> float:
    """Measure sharpness: variance of the Laplacian over variance of the image.

    The image is smoothed first (binomial, 3×3), or shot noise would pass for sharpness. The ratio
    does not change with gain or offset; it falls as an image is blurred. It depends on the
    magnification and on what is imaged: compare it only between images of one kind.

    Source: the variance of the Laplacian, Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", ICPR 2000; dividing by the image's own variance is ours.

    Args:
        channel: ``(Y, X)``, any real dtype. Sides under 3 px give 0.

    Returns:
        A ratio without unit, at least 0; 0 for a constant channel.
    """
    height, width = channel.shape
    if min(height, width) < 3:
        return 0.0
    origin = float(channel[0, 0])  # the sums of squares stay exact for images on a high offset
    sums = np.zeros(4)
    for top, bottom in _strips(channel.shape):
        first, last = max(0, top - 2), min(height, bottom + 2)
        block = channel[first:last].astype(np.float64) - origin
        for axis in (0, 1):
            block = ndimage.convolve1d(block, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
        edges = ndimage.laplace(block, mode="nearest")
        inner = np.s_[top - first : bottom - first]
        for index, part in ((0, block[inner]), (2, edges[inner])):
            sums[index] += part.sum()
            sums[index + 1] += np.square(part).sum()
    sums /= channel.size
    variance = sums[1] - sums[0] ** 2
    # A constant channel leaves rounding only.
    if variance <= 1e-12 * max(sums[1], 1e-300):
        return 0.0
    return float(max(0.0, sums[3] - sums[2] ** 2) / variance)


def object_quality(
    areas_px: ArrayLike, shape: tuple[int, int], mpp: tuple[float, float] | None
) -> ObjectQuality:
    """Assess the objects of one label image.

    Args:
        areas_px: ``(n,)`` area of each object in px.
        shape: ``(Y, X)`` of the image in px.
        mpp: pixel size (y, x) in microns, None where unknown.
    """
    areas = np.asarray(areas_px, np.float64)
    median = float(np.median(areas)) if areas.size else float("nan")
    density = None
    if mpp is not None:
        density = areas.size / (shape[0] * mpp[0] * shape[1] * mpp[1] * 1e-6)
    return ObjectQuality(
        count=int(areas.size),
        median_area_px=median,
        median_diameter_px=float(2 * np.sqrt(median / np.pi)),
        per_mm2=density,
        outliers=int(area_outliers(areas).sum()),
    )


def area_outliers(areas: ArrayLike) -> np.ndarray:
    """Find areas far from the rest: modified z-score of the log area above 3.5.

    The logarithm is taken since sizes of cells are skewed. Where over half of the areas are equal
    there is no spread to compare with, and none is an outlier.

    Source: Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993.

    Args:
        areas: ``(n,)``, all above 0, in any unit.

    Returns:
        bool ``(n,)``.
    """
    logs = np.log(np.asarray(areas, np.float64))
    if not logs.size:
        return np.zeros(0, bool)
    deviations = np.abs(logs - np.median(logs))
    spread = float(np.median(deviations))
    if spread == 0:
        return np.zeros(logs.shape, bool)
    return 0.6745 * deviations / spread > _OUTLIER_SCORE


def _saturation_levels(dtype: np.dtype) -> list[float]:
    if not np.issubdtype(dtype, np.integer):
        return []
    top = int(np.iinfo(dtype).max)
    return [float(v) for v in sorted({*(2**bits - 1 for bits in _CAMERA_BITS), top}) if v <= top]


def _strips(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    rows = max(1, _STRIP_PIXELS // max(1, shape[1]))
    return [(top, min(top + rows, shape[0])) for top in range(0, shape[0], rows)]
