"""What the room computes with, checked: light that was acquired, and point spread functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.morphology.images import checked_image


def checked_light(image: npt.ArrayLike, what: str = "image") -> np.ndarray:
    """An image or a volume as float32.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, real numbers.
        what: its name in error messages.

    Raises:
        BadInput: it has other axes, no voxels, or NaN, infinity or negative values.
    """
    light = checked_image(image, what).astype(np.float32, copy=False)
    if not light.size or light.min() < 0:
        found = f"{light.min():g}" if light.size else f"shape {light.shape}"
        raise BadInput(what, expected="voxels with values from 0", found=found)
    return light


def checked_psf(psf: np.ndarray, axes: int) -> np.ndarray:
    """A point spread function as float32, or the line that says what is wrong with it.

    Raises:
        BadInput: it has other axes, NaN, infinity, negative values or no light.
    """
    values = np.asarray(psf)
    if values.ndim != axes or not values.size or values.dtype.kind not in "fiu":
        raise BadInput(
            "PSF", expected=f"numbers with {axes} axes", found=f"{values.dtype} {values.shape}"
        )
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all() or values.min() < 0 or not values.sum() > 0:
        raise BadInput(
            "PSF",
            expected="finite values from 0 with a sum above 0",
            found=f"{values.min():g} to {values.max():g}, sum {values.sum():g}",
        )
    return values


def odd_psf(psf: np.ndarray) -> np.ndarray:
    """A point spread function of odd sides and sum 1; its middle stays where n // 2 is."""
    padded = np.pad(psf, [(0, 1 - side % 2) for side in psf.shape])
    return (padded / padded.sum(dtype=np.float64)).astype(np.float32)


def bright_centre(values: np.ndarray) -> np.ndarray:
    """Where a point's image lies: the centre of mass of what is above half of its peak.

    Args:
        values: `(Y, X)` or `(Z, Y, X)`, with a peak above 0.

    Returns:
        float64, voxels, an axis each.
    """
    bright = np.where(values >= values.max() / 2, values, 0)
    return np.array(ndimage.center_of_mass(bright.astype(np.float64)))
