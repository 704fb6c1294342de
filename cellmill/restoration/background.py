"""The background under what is looked at: estimated as a level, or taken off as it varies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.morphology.images import checked_image
from cellmill.restoration.denoising import sizes_in_voxels
from cellmill.restoration.neighbourhoods import check_radius, opened

BackgroundMethod = Literal["top_hat", "rolling_ball", "gaussian"]
BACKGROUND_METHODS: tuple[BackgroundMethod, ...] = ("top_hat", "rolling_ball", "gaussian")
#: Smoothing by which noise is kept from passing for darkness, voxels.
_SMOOTH = 2.0
_PERCENTILE = 1.0
#: Voxels smoothed at once, and about as many are kept for the percentile.
_AT_ONCE = 1 << 24


def background_level(image: Windowed) -> float:
    """Estimate the level on which an image lies: the 1st percentile once noise is smoothed.

    It is too high where objects leave nothing dark. Of a large image slabs are read, and the
    percentile is that of a regular sample.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, finite.

    Raises:
        BadInput: it has other axes, or NaN or infinity.
    """
    step = max(1, _AT_ONCE // max(1, math.prod(image.shape[1:])))
    every = max(1, -(-math.prod(image.shape) // _AT_ONCE))
    halo = round(4 * _SMOOTH)
    kept = []
    for first in range(0, image.shape[0], step):
        low = max(0, first - halo)
        slab = checked_image(image[low : first + step + halo], "image")
        smooth = ndimage.gaussian_filter(slab.astype(np.float32), _SMOOTH, mode="reflect")
        kept.append(smooth[first - low :][:step].ravel()[::every])
    return max(float(np.percentile(np.concatenate(kept), _PERCENTILE)), 0.0)


def subtract_background(
    image: np.ndarray,
    radius: float,
    method: BackgroundMethod = "top_hat",
    *,
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Take off what varies more slowly than objects do.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, finite.
        radius: larger than the objects', in pixels of the finest axis.
        method: `top_hat`, less the grey opening by a ball; `rolling_ball` of scikit-image, less
            the surface that a ball touches from below (S. R. Sternberg, Computer 16 (1983) 22);
            `gaussian`, less the image smoothed by σ of the radius, cut off at 0.
        spacing: size of a voxel along each axis, in any unit; None is equal.

    Returns:
        float32 of the image's shape, not negative.

    Raises:
        BadInput: the image or a parameter is not what it must be.
    """
    given = checked_image(image, "image").astype(np.float32, copy=False)
    if method not in BACKGROUND_METHODS:
        expected = f"one of {', '.join(BACKGROUND_METHODS)}"
        raise BadInput("method", expected=expected, found=repr(method))
    if not 0 < radius < math.inf:
        raise BadInput("radius", expected="above 0", found=f"{radius:g}")
    if method != "gaussian" and radius < 1:
        raise BadInput("radius", expected="1 pixel or more", found=f"{radius:g}")
    check_radius("radius", radius, given.shape)
    radii = sizes_in_voxels(radius, spacing, given.ndim)
    if method == "gaussian":
        under = ndimage.gaussian_filter(given, radii, mode="reflect")
    elif method == "top_hat":
        under = opened(given, radii)
    else:
        under = _rolling_ball(given, radii)
    return np.maximum(given - under, 0)


def _rolling_ball(image: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    from skimage.restoration import ellipsoid_kernel, rolling_ball

    # As high as wide, in the image's own range, as it is done for 8 bits.
    height = float(image.max() - image.min()) * max(radii) / 255
    kernel = ellipsoid_kernel([2 * max(r, 0.5) for r in radii], max(height, 1e-6))
    found: np.ndarray = rolling_ball(image, kernel=kernel)
    return found
