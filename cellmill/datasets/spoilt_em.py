"""Volumes spoilt in a known way, so that it can be told how much of it a network undoes."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from cellmill.errors import BadInput


def spoil(
    volume: np.ndarray,
    *,
    blur: float = 1.5,
    warp: float = 1.0,
    holes: float = 0.01,
    hole: float = 3.0,
    seed: int = 0,
) -> np.ndarray:
    """Spoil each section of a volume: bend it finely, blur it, punch holes into it.

    A section follows from the seed and its number alone.

    Args:
        volume: `(Z, Y, X)` uint8.
        blur: standard deviation of the blur within a section, voxels.
        warp: standard deviation of what voxels are moved by along y and along x, smooth over three
            voxels.
        holes: part of a section that holes cover, about; they overlap.
        hole: radius of a hole, voxels; it has the section's mean value.
        seed: of bends and holes.

    Returns:
        `(Z, Y, X)` uint8.

    Raises:
        BadInput: it is no volume of uint8, or a number is impossible.
    """
    if volume.ndim != 3 or volume.dtype != np.uint8:
        found = f"{volume.dtype} of shape {volume.shape}"
        raise BadInput("volume", expected="uint8 (Z, Y, X)", found=found)
    for name, value in (("blur", blur), ("warp", warp), ("hole", hole)):
        if not 0 <= value < np.inf:
            raise BadInput(name, expected="0 or more", found=f"{value:g}")
    if not 0 <= holes < 1:
        raise BadInput("holes", expected="0 to 1", found=f"{holes:g}")
    spoilt = np.empty_like(volume)
    for z, section in enumerate(volume):
        random = np.random.default_rng([seed, z])
        grey = section.astype(np.float32)
        places = np.indices(grey.shape, np.float32)
        for axis in range(2):
            noise = scipy.ndimage.gaussian_filter(random.normal(0, 1, grey.shape), 3.0)
            places[axis] += warp * noise / max(float(noise.std()), 1e-12)
        grey = scipy.ndimage.map_coordinates(grey, places, order=1, mode="reflect")
        grey = scipy.ndimage.gaussian_filter(grey, blur)
        count = round(holes * grey.size / max(np.pi * hole**2, 1.0))
        centres = np.ones(grey.shape, bool)
        centres.flat[random.integers(grey.size, size=count)] = False
        if count:
            grey[scipy.ndimage.distance_transform_edt(centres) <= hole] = section.mean()
        spoilt[z] = np.rint(np.clip(grey, 0, 255))
    return spoilt
