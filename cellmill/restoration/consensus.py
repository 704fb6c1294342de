"""Gradient consensus: Richardson-Lucy that goes on only where it follows light, and not noise.

Split the photons of an image at random into two halves. Where both halves ask for the same change
of the object, light asks for it; where they contradict each other, noise does, and the object is
left as it is (J. D. Manton and A. G. York, Richardson-Lucy gradient consensus). Here nothing is
drawn: the mean over all ways to split is known. With g the gradient of the likelihood and V the
variance that the noise of photons gives it, V = (h²)ᵀ[gain · y / m²] / α², the product of the two
halves' gradients is g² - V in the mean. It is weighted by the object's light, so that the faint rim
says little, and smoothed by what the microscope itself smooths, hᵀ ∗ h.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.restoration.fourier import Convolution
from cellmill.restoration.operations import Operations

#: Less than this part of the light still follows: all that could be known is in the object.
LEAST_AGREED = 0.01


class Consensus:
    """Finds where the object goes on, and holds it elsewhere.

    Args:
        psf: float32, odd sides, sum 1.
        convolution: with it, of the window that is computed.
        on: what computes.
        gain: grey levels a photon.
    """

    def __init__(
        self, psf: np.ndarray, convolution: Convolution, on: Operations, gain: float
    ) -> None:
        self.on = on
        self._convolution, self._gain = convolution, gain
        self._squared = Convolution(psf * psf, convolution.shape, on=on)

    def hold(self, arrays: tuple[Any, Any, Any, Any, Any]) -> float:
        """Make the correction 1 where there is no consensus.

        Args:
            arrays: object, ratio y / m, correction Hᵀ[ratio], 1 / α, and what was acquired, all
                float32 of the window; the correction is changed in place.

        Returns:
            The part of the light that goes on.
        """
        object_, _, correction, gains, _ = arrays
        smooth, lit = self.smoothed(arrays)
        agreed = self.on.hold(object_, correction, gains, smooth)
        self.on.release(smooth)
        return agreed / max(lit, 1e-30)

    def smoothed(
        self, arrays: tuple[Any, Any, Any, Any, Any], wanted: tuple[slice, ...] | None = None
    ) -> tuple[Any, float]:
        """Above 0 where there is consensus, of arrays as in `hold`; and Σ x.

        Where it is not wanted it is anything; None: it is wanted everywhere.
        """
        object_, ratio, correction, gains, acquired = arrays
        noise = self.on.empty_like(ratio)
        self.on.relative_noise(ratio, acquired, self._gain, noise)
        noise = self._squared.adjoint(noise, out=noise)
        lit = self.on.agreement(object_, correction, gains, noise)
        return self._convolution.both(noise, wanted), lit


def checked_gain(gain: float) -> float:
    """The gain, or the line that says what is wrong with it."""
    if not 0 < gain < math.inf:
        raise BadInput("gain", expected="grey levels a photon, above 0", found=f"{gain:g}")
    return gain
