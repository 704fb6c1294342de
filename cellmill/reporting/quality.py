"""Measures of an image's and a segmentation's quality: arrays in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from cellmill.arrays.windows import Windowed

_STRIP_BYTES = 1 << 25
_HALO = 2
_BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)
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


def image_quality(image: Windowed, channels: Sequence[int]) -> list[ChannelQuality]:
    """Assess channels of an image, which is read once, strip by strip.

    Saturation is looked for at the end of the dtype's range, and, where a channel's maximum is
    2ᵏ - 1 for a camera's usual 8, 10, 12 or 14 bits stored in more, there.

    Args:
        image: ``(Y, X, C)``, uint8, uint16 or float, with at least one pixel.
        channels: indices into C.

    Returns:
        One for each of ``channels``.
    """
    height, width = image.shape[:2]
    tallies = [_Tally(image.dtype, float(image[0, 0, c])) for c in channels]
    rows = max(1, _STRIP_BYTES // max(1, width * image.shape[2] * image.dtype.itemsize))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(0, top - _HALO), min(height, bottom + _HALO)
        strip = np.asarray(image[first:last])
        for tally, channel in zip(tallies, channels, strict=True):
            tally.add(np.ascontiguousarray(strip[..., channel]), top - first, bottom - first)
    return [tally.result() for tally in tallies]


class _Tally:
    """What is added up over the strips of one channel."""

    def __init__(self, dtype: np.dtype, origin: float) -> None:
        # Values are taken from the first pixel's on: sums of squares stay exact on a high offset.
        self._origin = origin
        self._minimum, self._maximum = np.inf, -np.inf
        self._pixels = self._zeros = 0
        self._at_level = dict.fromkeys(_saturation_levels(dtype), 0)
        self._sums = np.zeros(4)  # smoothed: values, squares; their Laplacian: values, squares
        self._total = 0.0

    def add(self, strip: np.ndarray, first: int, last: int) -> None:
        """Add the rows ``first`` to ``last`` of a strip, which has a halo around them."""
        block = strip[first:last]
        self._minimum = min(self._minimum, float(block.min()))
        self._maximum = max(self._maximum, float(block.max()))
        self._pixels += block.size
        self._zeros += block.size - int(np.count_nonzero(block))
        self._total += float(block.sum(dtype=np.float64))
        for level in self._at_level:
            if level <= self._maximum:
                self._at_level[level] += int(np.count_nonzero(block == level))
        values = strip.astype(np.float32) - np.float32(self._origin)
        smooth = cv2.sepFilter2D(values, -1, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REPLICATE)
        edges = cv2.Laplacian(smooth, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE)
        for index, part in ((0, smooth[first:last]), (2, edges[first:last])):
            flat = part.reshape(-1).astype(np.float64)
            self._sums[index : index + 2] += flat.sum(), flat @ flat

    def result(self) -> ChannelQuality:
        """Return the quality of the channel."""
        level = max(self._at_level, default=None)
        if self._maximum in self._at_level:
            level = self._maximum
        return ChannelQuality(
            minimum=self._minimum,
            maximum=self._maximum,
            mean=self._total / self._pixels,
            saturation_value=level,
            saturated_fraction=None if level is None else self._at_level[level] / self._pixels,
            zero_fraction=self._zeros / self._pixels,
            empty=self._minimum == self._maximum,
            focus=self._focus(),
        )

    def _focus(self) -> float:
        mean, square, edge_mean, edge_square = self._sums / self._pixels
        variance = square - mean**2
        if self._minimum == self._maximum or variance <= 0:
            return 0.0
        return float(max(0.0, edge_square - edge_mean**2) / variance)


def focus_measure(channel: np.ndarray) -> float:
    """Measure sharpness: variance of the Laplacian over variance of the image.

    The image is smoothed first (binomial, 3×3), or shot noise would pass for sharpness. The ratio
    does not change with gain or offset; it falls as an image is blurred. It depends on the
    magnification and on what is imaged: compare it only between images of one kind.

    Source: the variance of the Laplacian, Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", ICPR 2000; smoothing and dividing by the image's own variance are ours.

    Args:
        channel: ``(Y, X)``, uint8, uint16 or float.

    Returns:
        A ratio without unit, at least 0; 0 for a constant channel.
    """
    return image_quality(channel[..., None], [0])[0].focus


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
