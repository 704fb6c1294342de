"""Measures of an image's and a segmentation's quality: arrays in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import cv2
import numpy as np
from numpy.typing import ArrayLike

from cellmill.arrays.rows import RowReader, row_bands
from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.reporting.display import block_rows

#: What a band of an image may take.
_MEMORY_MIB = 32
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
        focus: sharpness, see `focus_measure`.
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
        outliers: number of objects whose area is an outlier, see `area_outliers`.
    """

    count: int
    median_area_px: float
    median_diameter_px: float
    per_mm2: float | None
    outliers: int


def image_quality(image: Windowed, channels: Sequence[int]) -> list[ChannelQuality]:
    """Assess channels of an image, which is read once, band by band.

    Saturation is looked for at the end of the dtype's range, and, where a channel's maximum is
    2ᵏ - 1 for a camera's usual 8, 10, 12 or 14 bits stored in more, there.

    Args:
        image: `(Y, X, C)`, uint8, uint16 or float, with at least one pixel.
        channels: indices into C.

    Returns:
        One for each of `channels`.
    """
    bands = row_bands(
        (image.shape[0], image.shape[1]),
        bytes_per_pixel=image.shape[2] * image.dtype.itemsize,
        memory_mib=_MEMORY_MIB,
        halo=_HALO,
    )
    levels = _saturation_levels(image.dtype)
    # Values are taken from the first pixel's on: sums of squares stay exact on a high offset.
    origins = [np.float32(image[0, 0, c]) for c in channels]
    found: list[list[_Sums]] = [[] for _ in channels]
    reader, step = RowReader(image), block_rows(image.shape)
    for band, following in zip_longest(bands, bands[1:]):
        window, inner = reader.read(band, following), band.inner
        blocks = [slice(y, min(y + step, inner.stop)) for y in range(inner.start, inner.stop, step)]
        for channel, origin, sums in zip(channels, origins, found, strict=True):
            work = partial(_measure, window[..., channel], origin, levels)
            sums.append(_added(in_threads(work, blocks)))
    return [_quality(_added(sums), levels) for sums in found]


@dataclass(frozen=True)
class _Sums:
    """What is added up over parts of one channel.

    Attributes:
        minimum: least value.
        maximum: greatest value.
        pixels: how many.
        zeros: pixels that are 0.
        total: of all values.
        at_level: pixels at each of the saturation levels.
        smoothed: of the smoothed channel's values, of their squares, and so of its Laplacian's.
    """

    minimum: float
    maximum: float
    pixels: int
    zeros: int
    total: float
    at_level: np.ndarray
    smoothed: np.ndarray


def _measure(window: np.ndarray, origin: np.float32, levels: Sequence[float], rows: slice) -> _Sums:
    """Measure rows of a window `(Y, X)` that shows more rows around them where there are any."""
    first = max(0, rows.start - _HALO)
    strip = np.ascontiguousarray(window[first : rows.stop + _HALO])
    inner = slice(rows.start - first, rows.stop - first)
    block = strip[inner]
    maximum = float(block.max())
    values = strip.astype(np.float32)
    values -= origin
    smooth = cv2.sepFilter2D(values, -1, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REPLICATE)
    edges = cv2.Laplacian(smooth, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE)
    sums = [
        add
        for part in (smooth[inner], edges[inner])
        # Both add float32 up in float64.
        for add in (cv2.sumElems(part)[0], cv2.norm(part, cv2.NORM_L2SQR))
    ]
    return _Sums(
        minimum=float(block.min()),
        maximum=maximum,
        pixels=block.size,
        zeros=block.size - int(np.count_nonzero(block)),
        total=float(block.sum(dtype=np.float64)),
        at_level=np.array(
            [np.count_nonzero(block == v) if v <= maximum else 0 for v in levels], np.int64
        ),
        smoothed=np.array(sums),
    )


def _added(parts: Sequence[_Sums]) -> _Sums:
    return _Sums(
        minimum=min(part.minimum for part in parts),
        maximum=max(part.maximum for part in parts),
        pixels=sum(part.pixels for part in parts),
        zeros=sum(part.zeros for part in parts),
        total=sum(part.total for part in parts),
        at_level=sum(part.at_level for part in parts[1:]) + parts[0].at_level,
        smoothed=sum(part.smoothed for part in parts[1:]) + parts[0].smoothed,
    )


def _quality(sums: _Sums, levels: Sequence[float]) -> ChannelQuality:
    saturation = None
    if levels:
        saturation = sums.maximum if sums.maximum in levels else levels[-1]
    return ChannelQuality(
        minimum=sums.minimum,
        maximum=sums.maximum,
        mean=sums.total / sums.pixels,
        saturation_value=saturation,
        saturated_fraction=None
        if saturation is None
        else int(sums.at_level[levels.index(saturation)]) / sums.pixels,
        zero_fraction=sums.zeros / sums.pixels,
        empty=sums.minimum == sums.maximum,
        focus=_focus(sums),
    )


def _focus(sums: _Sums) -> float:
    mean, square, edge_mean, edge_square = sums.smoothed / sums.pixels
    variance = square - mean**2
    if sums.minimum == sums.maximum or variance <= 0:
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
        channel: `(Y, X)`, uint8, uint16 or float.

    Returns:
        A ratio without unit, at least 0; 0 for a constant channel.
    """
    return image_quality(channel[..., None], [0])[0].focus


def object_quality(
    areas_px: ArrayLike,
    shape: tuple[int, int],
    mpp: tuple[float, ...] | None,
    solid: bool = False,
) -> ObjectQuality:
    """Assess the objects of one label image.

    Args:
        areas_px: `(n,)` area of each object in px.
        shape: `(Y, X)` of the image in px.
        mpp: pixel size (y, x) in microns, None where unknown.
        solid: whether areas are volumes; then they lie in no plane, and have no density there.
    """
    areas = np.asarray(areas_px, np.float64)
    median = float(np.median(areas)) if areas.size else float("nan")
    density = None
    if mpp is not None and not solid:
        density = areas.size / (shape[0] * mpp[0] * shape[1] * mpp[1] * 1e-6)
    return ObjectQuality(
        count=int(areas.size),
        median_area_px=median,
        median_diameter_px=float(
            np.cbrt(6 * median / np.pi) if solid else 2 * np.sqrt(median / np.pi)
        ),
        per_mm2=density,
        outliers=int(area_outliers(areas).sum()),
    )


def area_outliers(areas: ArrayLike) -> np.ndarray:
    """Find areas far from the rest: modified z-score of the log area above 3.5.

    The logarithm is taken since sizes of cells are skewed. Where over half of the areas are equal
    there is no spread to compare with, and none is an outlier.

    Source: Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993.

    Args:
        areas: `(n,)`, all above 0, in any unit.

    Returns:
        bool `(n,)`.
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
