"""Resampling images to a model's scale, and labels back to the image's own.

Two interpolations are kept on purpose: DeepCell resamples one channel with OpenCV and several with
scikit-image, and they differ (sample positions of nearest neighbour, anti-aliasing, dark borders).
`ResizedImage` and `ResizedLabels` show a resized array of which any window can be read; a window
has just the pixels that the whole array would have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput
from cellmill.models.card import Resampling
from cellmill.preprocessing import interpolation
from cellmill.preprocessing.levels import levels_of
from cellmill.preprocessing.pixels import native_dtype

_ROWS = 64
#: About so many pixels of the source are held for a piece of the result, a side.
_SOURCE_SIDE = 1024


def scaled_shape(
    shape: tuple[int, int], mpp: tuple[float, float] | None, model_mpp: float
) -> tuple[int, int]:
    """The sides that an image has at the model's scale: `int(side × mpp / model_mpp)` per axis.

    Args:
        shape: `(Y, X)` in pixels.
        mpp: microns per pixel `(y, x)` of the image; `None` if unknown.
        model_mpp: microns per pixel of the model; 0 if it has no scale of its own.

    Returns:
        `(Y', X')`; `shape` itself if either scale is unknown.

    Raises:
        BadInput: a scale is not positive, or a side would shrink to nothing.
    """
    if mpp is None or not model_mpp:
        return shape
    if not (min(mpp) > 0 and model_mpp > 0 and np.isfinite([*mpp, model_mpp]).all()):
        raise BadInput("mpp", expected="positive microns per pixel", found=f"{mpp}, {model_mpp}")
    scaled = tuple(
        int(side * axis_mpp / model_mpp) if axis_mpp != model_mpp else side
        for side, axis_mpp in zip(shape, mpp, strict=True)
    )
    if min(scaled) < 1:
        raise BadInput(
            f"image of {shape[0]} × {shape[1]} px at {mpp[0]:g} × {mpp[1]:g} µm/px",
            expected=f"at least one pixel at the model's {model_mpp:g} µm/px",
            found=f"{scaled[0]} × {scaled[1]} px",
        )
    return scaled[0], scaled[1]


class ResizedImage:
    """An image resampled linearly, in its own dtype, of which any window can be read.

    `deepcell`, one channel: OpenCV's linear interpolation, no anti-aliasing. Several: scikit-image,
    order 1, anti-aliased when shrinking, with zeros beyond the border (which darkens it), cut off
    at the extremes of the whole image. Results are cut off towards zero for integers.

    `averaged`: linear when enlarging; when shrinking each pixel is the mean of what it covers.
    Results are rounded to the nearest integer.

    Args:
        image: `(Y, X, C)`, integer or float.
        shape: the new `(Y, X)`.
        extremes: least and greatest value of the image over all channels. `None` reads the image
            once, unless it keeps its shape or is of integers whose extremes do not count: to find
            them, and to refuse what is not finite before it is spread or skipped.
        what: the image's name in error messages.
        resampling: as a card names it.

    Raises:
        BadInput: the image has a dtype without numbers, or a value that is NaN or infinite.
    """

    def __init__(
        self,
        image: Windowed,
        shape: tuple[int, int],
        extremes: tuple[float, float] | None = None,
        what: str = "image",
        resampling: Resampling = "deepcell",
    ) -> None:
        self.image = image
        self.resampling = resampling
        self.shape = (int(shape[0]), int(shape[1]), image.shape[2])
        self.dtype = native_dtype(image.dtype, what)
        self.is_same = self.shape == tuple(image.shape)
        several = self.shape[2] > 1 and resampling == "deepcell"
        is_read = several or self.dtype.kind == "f"
        if extremes is None and is_read and not self.is_same:
            levels = levels_of(image, what=what)
            low, high = min(level.low for level in levels), max(level.high for level in levels)
            extremes = (low.item(), high.item())
        self.extremes = extremes
        # Pixels of the image that are held are few, however much it shrinks.
        shrinking = max(old / new for old, new in zip(image.shape[:2], shape, strict=True))
        self._piece = max(int(_SOURCE_SIDE / max(shrinking, 1)), 32)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        if 0 in box.shape:
            pixels = np.zeros((*box.shape, self.shape[2]), self.dtype)
        elif self.is_same:
            pixels = self.image[box.slices].astype(self.dtype, copy=False)
        else:
            pixels = np.empty((*box.shape, self.shape[2]), self.dtype)
            if self.resampling == "averaged":
                resample = self._averaged
            else:
                resample = self._repeated if self.shape[2] == 1 else self._darkened
            grid = Grid(box.shape, self._piece)
            for piece in map(grid.box, range(len(grid))):
                pixels[piece.slices] = resample(piece.moved(box.y0, box.x0))
        return pixels[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all of it, bands of rows side by side."""
        out = np.empty(self.shape, self.dtype)

        def read(band: tuple[int, int]) -> None:
            out[slice(*band)] = self[slice(*band)]

        in_threads(read, bands(self.shape[0], _ROWS, per_thread=4))
        return out if dtype is None else out.astype(dtype, copy=False)

    def _averaged(self, box: Box) -> np.ndarray:
        places, cuts = [], []
        for side, resized, start, stop in zip(
            self.image.shape, self.shape, (box.y0, box.x0), (box.y1, box.x1), strict=False
        ):
            first, weights = interpolation.averaging_places(side, resized, start, stop)
            cut = slice(int(first[0]), min(int(first[-1]) + weights.shape[1], side))
            places.append((first - cut.start, weights))
            cuts.append(cut)
        source = np.ascontiguousarray(self.image[tuple(cuts)], self.dtype)
        out = np.empty((*box.shape, self.shape[2]), np.float64)
        interpolation.interpolate_averaged(source, places[0], places[1], out)
        if self.dtype.kind in "iu":
            np.rint(out, out=out)
        return out.astype(self.dtype, copy=False)

    def _repeated(self, box: Box) -> np.ndarray:
        height, width, _ = self.image.shape
        upper, lower, down = interpolation.opencv_places(height, self.shape[0], box.y0, box.y1)
        left, right, across = interpolation.opencv_places(width, self.shape[1], box.x0, box.x1)
        source = self.image[upper[0] : lower[-1] + 1, left[0] : right[-1] + 1]
        plane = np.ascontiguousarray(source[..., 0], np.float32)
        out = np.empty(box.shape, np.float32)
        interpolation.interpolate_repeated(
            plane,
            (upper - upper[0], lower - upper[0], down),
            (left - left[0], right - left[0], across),
            out,
        )
        return out[..., None].astype(self.dtype, copy=False)

    def _darkened(self, box: Box) -> np.ndarray:
        sides = self.image.shape[:2]
        places, cuts, sigmas, inner = [], [], [], []
        for side, resized, start, stop in zip(
            sides, self.shape, (box.y0, box.x0), (box.y1, box.x1), strict=False
        ):
            first, weight = interpolation.scikit_image_places(side, resized, start, stop)
            sigma = interpolation.smoothing_sigma(side, resized)
            margin = interpolation.smoothing_radius(sigma)
            low, high = max(int(first[0]), 0), min(int(first[-1]) + 2, side)
            cut = slice(max(low - margin, 0), min(high + margin, side))
            places.append((first - low, weight))
            sigmas.append(sigma)
            cuts.append(cut)
            inner.append(slice(low - cut.start, high - cut.start))
        source = self.image[tuple(cuts)].astype(self.dtype, copy=False)
        floats = source.astype(np.float32 if self.dtype == np.float32 else np.float64, copy=False)
        blurred = interpolation.smoothed(floats, (sigmas[0], sigmas[1]))[tuple(inner)]
        out = np.empty((*box.shape, self.shape[2]), floats.dtype)
        low, high = np.asarray(self.extremes, floats.dtype)
        interpolation.interpolate_darkened(blurred, places[0], places[1], low, high, out)
        return out.astype(self.dtype, copy=False)


def resize_image(
    image: np.ndarray,
    shape: tuple[int, int],
    what: str = "image",
    resampling: Resampling = "deepcell",
) -> np.ndarray:
    """Resample an image linearly, in its own dtype, as `ResizedImage` says.

    Args:
        image: `(Y, X, C)`, integer or float.
        shape: the new `(Y, X)`.
        what: the image's name in error messages.
        resampling: as a card names it.

    Returns:
        `(*shape, C)` of the image's dtype; the image itself if it has that shape already.

    Raises:
        BadInput: see `ResizedImage`.
    """
    if image.shape[:2] == tuple(shape):
        return image
    return np.asarray(ResizedImage(image, shape, what=what, resampling=resampling))
