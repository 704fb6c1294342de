"""Convolution with a point spread function by real FFTs of one length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from cellmill.compute.threads import thread_count


class Convolution:
    """Circular convolution of float32 arrays of one shape with one point spread function.

    The function's transform is computed once. Arrays are not padded here: whoever calls leaves as
    much room as the function is wide, or wants what is periodic.

    Args:
        psf: float32, odd sides; its middle is the point.
        shape: of the arrays, at least the function's.
        threads: how many; None is `thread_count()`.
    """

    def __init__(self, psf: np.ndarray, shape: Sequence[int], threads: int | None = None) -> None:
        self.shape = tuple(shape)
        self._threads = thread_count() if threads is None else threads
        whole = np.zeros(self.shape, np.float32)
        whole[tuple(slice(0, side) for side in psf.shape)] = psf
        middle = tuple(-(side // 2) for side in psf.shape)
        whole = np.roll(whole, middle, tuple(range(psf.ndim)))
        self._transform = fft.rfftn(whole, workers=self._threads)

    def forward(self, image: np.ndarray) -> np.ndarray:
        """What the microscope makes of an object: `h ∗ image`."""
        spectrum = fft.rfftn(image, workers=self._threads)
        np.multiply(spectrum, self._transform, out=spectrum)
        return self._back(spectrum)

    def adjoint(self, image: np.ndarray) -> np.ndarray:
        """The convolution with the function turned around."""
        spectrum = fft.rfftn(image, workers=self._threads)
        # conj(h) · s, without another array: conj(h · conj(s)).
        np.conjugate(spectrum, out=spectrum)
        np.multiply(spectrum, self._transform, out=spectrum)
        np.conjugate(spectrum, out=spectrum)
        return self._back(spectrum)

    def both(self, image: np.ndarray) -> np.ndarray:
        """`hᵀ ∗ h ∗ image`."""
        spectrum = fft.rfftn(image, workers=self._threads)
        spectrum *= self._transform.real**2 + self._transform.imag**2
        return self._back(spectrum)

    def inverse(self, image: np.ndarray, penalty: float) -> np.ndarray:
        """`conj(h) · s / (|h|² + penalty)`: the regularised inverse."""
        spectrum = fft.rfftn(image, workers=self._threads)
        power = self._transform.real**2 + self._transform.imag**2 + np.float32(penalty)
        spectrum *= np.conjugate(self._transform) / power
        return self._back(spectrum)

    def _back(self, spectrum: np.ndarray) -> np.ndarray:
        found: np.ndarray = fft.irfftn(
            spectrum, s=self.shape, workers=self._threads, overwrite_x=True
        )
        return found


def fast_shape(least: Sequence[int]) -> tuple[int, ...]:
    """The lengths, each the least or a little more, of which a real FFT is fast."""
    return tuple(int(fft.next_fast_len(side, real=True)) for side in least)
