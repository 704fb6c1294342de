"""Noise taken off an image or a volume, by its neighbourhood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.morphology.images import checked_image
from cellmill.restoration.neighbourhoods import check_radius, median

DenoisingMethod = Literal["gaussian", "median", "non_local_means"]
DENOISING_METHODS: tuple[DenoisingMethod, ...] = ("gaussian", "median", "non_local_means")
#: Sides of the patches that non-local means compares, and how far it looks for like ones, voxels.
_PATCH, _REACH = 5, 6
_PATCH_3D, _REACH_3D = 3, 3


def denoise(
    image: np.ndarray,
    method: DenoisingMethod = "gaussian",
    *,
    size: float = 1.0,
    spacing: Sequence[float] | None = None,
    strength: float = 0.8,
) -> np.ndarray:
    """Take noise off.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, finite.
        method: `gaussian`, `median`, or `non_local_means` of scikit-image, which averages places
            that look alike (A. Buades, B. Coll and J.-M. Morel, CVPR 2005).
        size: σ of `gaussian`, radius of `median`, in pixels of the finest axis.
        spacing: size of a voxel along each axis, in any unit; coarse axes are smoothed over fewer
            voxels. None is equal.
        strength: of `non_local_means`: h as a multiple of the noise's σ, which is estimated.

    Returns:
        float32 of the image's shape.

    Raises:
        BadInput: the image or a parameter is not what it must be.
    """
    given = checked_image(image, "image").astype(np.float32, copy=False)
    if method not in DENOISING_METHODS:
        expected = f"one of {', '.join(DENOISING_METHODS)}"
        raise BadInput("method", expected=expected, found=repr(method))
    for name, value in (("size", size), ("strength", strength)):
        if not 0 < value < math.inf:
            raise BadInput(name, expected="above 0", found=f"{value:g}")
    if method == "median" and size < 1:
        raise BadInput("size", expected="1 pixel or more for a median", found=f"{size:g}")
    if method != "non_local_means":
        check_radius("size", size, given.shape)
    sizes = sizes_in_voxels(size, spacing, given.ndim)
    if given.ndim == 3 and len(given) == 1:
        # One plane has no neighbours; mirrored, it would count several times.
        return _denoised(given[0], method, sizes[1:], strength)[None]
    return _denoised(given, method, sizes, strength)


def _denoised(
    image: np.ndarray, method: DenoisingMethod, sizes: Sequence[float], strength: float
) -> np.ndarray:
    if method == "gaussian":
        smooth: np.ndarray = ndimage.gaussian_filter(image, sizes, mode="reflect")
        return smooth
    if method == "median":
        return median(image, sizes)
    return _non_local_means(image, strength)


def sizes_in_voxels(size: float, spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """A length in pixels of the finest axis, in voxels along each axis.

    Raises:
        BadInput: the spacing has other axes or is not above 0.
    """
    steps = tuple(spacing or (1.0,) * axes)
    if len(steps) != axes or not all(0 < step < math.inf for step in steps):
        raise BadInput("spacing", expected=f"{axes} sizes above 0", found=f"{steps}")
    # The finest axis has exactly the size.
    return tuple(size * (min(steps) / step) for step in steps)


def noise_sigma(image: np.ndarray) -> float:
    """Estimate the σ of white noise, from what a difference of Laplacians leaves of the image.

    Within the planes, which have the finer voxels. After J. Immerkær, Comput. Vis. Image Underst.
    64 (1996) 300, but by the median, which edges do not reach.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`.

    Returns:
        σ; 0 where a plane has fewer than 3 pixels along an axis.
    """
    if min(image.shape[-2:]) < 3:
        return 0.0
    middle = image[..., 1:-1, :-2] - 2 * image[..., 1:-1, 1:-1] + image[..., 1:-1, 2:]
    above = image[..., :-2, :-2] - 2 * image[..., :-2, 1:-1] + image[..., :-2, 2:]
    below = image[..., 2:, :-2] - 2 * image[..., 2:, 1:-1] + image[..., 2:, 2:]
    # The weights' squares add up to 36; the median of |normal| is 0.6745 σ.
    return float(np.median(np.abs(above - 2 * middle + below))) / (0.6745 * 6)


def _non_local_means(image: np.ndarray, strength: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    low, high = float(image.min()), float(image.max())
    if high <= low:
        return image.copy()
    scaled = (image - np.float32(low)) / np.float32(high - low)
    sigma = noise_sigma(scaled)
    if not sigma > 0:
        return image.copy()
    volume = scaled.ndim == 3
    found: np.ndarray = denoise_nl_means(
        scaled,
        patch_size=_PATCH_3D if volume else _PATCH,
        patch_distance=_REACH_3D if volume else _REACH,
        h=strength * sigma,
        sigma=sigma,
        fast_mode=True,
    )
    return found.astype(np.float32) * np.float32(high - low) + np.float32(low)
