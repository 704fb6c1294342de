"""Convolution with a point spread function by real FFTs of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from cellmill.restoration.operations import Operations
from cellmill.restoration.processors import Processors


class Convolution:
    """Circular convolution of float32 arrays of one shape with one point spread function.

    The function's transform is computed once. Arrays are not padded here: whoever calls leaves as
    much room as the function is wide, or wants what is periodic.

    Args:
        psf: float32, odd sides; its middle is the point.
        shape: of the arrays, at least the function's.
        threads: how many; None is `thread_count()`.
        on: what computes; None are processors. Arrays are its own.
    """

    def __init__(
        self,
        psf: np.ndarray,
        shape: Sequence[int],
        threads: int | None = None,
        on: Operations | None = None,
    ) -> None:
        self.shape = tuple(shape)
        self.on = on or Processors(threads)
        whole = np.zeros(self.shape, np.float32)
        whole[tuple(slice(0, side) for side in psf.shape)] = psf
        middle = tuple(-(side // 2) for side in psf.shape)
        whole = np.roll(whole, middle, tuple(range(psf.ndim)))
        self._transform = self.on.rfftn(self.on.put(whole))

    def forward(self, image: Any, wanted: tuple[slice, ...] | None = None) -> Any:
        """What the microscope makes of an object: `h ∗ image`, anything where it is not wanted."""
        return self.on.convolve(image, self._transform, wanted=wanted)

    def adjoint(self, image: Any, filled: tuple[slice, ...] | None = None) -> Any:
        """The convolution with the function turned around, of what is 0 but where it is filled."""
        return self.on.convolve(image, self._transform, conjugate=True, filled=filled)

    def both(self, image: Any) -> Any:
        """`hᵀ ∗ h ∗ image`."""
        spectrum = self.on.rfftn(image)
        spectrum *= self._power()
        return self.on.irfftn(spectrum, self.shape)

    def inverse(self, image: Any, penalty: float) -> Any:
        """`conj(h) · s / (|h|² + penalty)`: the regularised inverse."""
        spectrum = self.on.rfftn(image)
        self.on.times_conjugate(spectrum, self._transform)
        power = self._power()
        power += penalty
        spectrum /= power
        return self.on.irfftn(spectrum, self.shape)

    def _power(self) -> Any:
        return self._transform.real**2 + self._transform.imag**2


def fast_shape(least: Sequence[int]) -> tuple[int, ...]:
    """The lengths, each the least or a little more, of which a real FFT is fast."""
    return tuple(int(fft.next_fast_len(side, real=True)) for side in least)
