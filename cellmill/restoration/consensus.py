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

from collections.abc import Callable

import numpy as np

from cellmill.restoration import richardson_lucy_kernels as kernels
from cellmill.restoration.fourier import Convolution

#: Less than this part of the light still follows: all that could be known is in the object.
LEAST_AGREED = 0.01
Band = tuple[int, int]


class Consensus:
    """Finds where the object goes on, and holds it elsewhere.

    Args:
        psf: float32, odd sides, sum 1.
        convolution: with it, of the window that is computed.
        threads: how many.
        gain: grey levels a photon.
    """

    def __init__(
        self, psf: np.ndarray, convolution: Convolution, threads: int, gain: float
    ) -> None:
        self._convolution = convolution
        self._squared = Convolution(psf * psf, convolution.shape, threads)
        self._gain = np.float32(gain)

    def hold(
        self,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        shared: Callable[[Callable[[Band], float], int], list[float]],
    ) -> float:
        """Make the correction 1 where there is no consensus.

        Args:
            arrays: object, ratio y / m, correction Hᵀ[ratio], 1 / α, and what was acquired, all
                float32 of the window; the correction is changed in place.
            shared: calls a function on bands of rows.

        Returns:
            The part of the light that goes on.
        """
        object_, ratio, correction, gains, acquired = arrays
        noise = np.empty_like(ratio)
        count = noise.size // noise.shape[-1]
        first = tuple(map(_rows, (ratio, acquired)))
        out = _rows(noise)
        shared(lambda band: kernels.relative_noise(*first, self._gain, out, *band), count)
        noise = self._squared.adjoint(noise)
        agreement, rows = _rows(noise), tuple(map(_rows, (object_, correction, gains)))
        lit = sum(shared(lambda band: kernels.agreement(*rows, agreement, *band), count))
        smooth = _rows(self._convolution.both(noise))
        on = sum(shared(lambda band: kernels.hold(*rows, smooth, *band), count))
        return on / max(lit, 1e-30)


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])
