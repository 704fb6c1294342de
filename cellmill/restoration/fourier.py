"""Convolution with a point spread function by real FFTs of one length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from cellmill.restoration.operations import Operations
from cellmill.restoration.processors import Processors

Slices = tuple[slice, ...]


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
        self._transform = self.on.transformed(self.on.put(centred(psf, self.shape)))

    def forward(
        self, image: Any, *, filled: Slices | None = None, wanted: Slices | None = None
    ) -> Any:
        """What the microscope makes of an object: `h ∗ image`.

        Args:
            image: the object, 0 but where it is `filled`; None: it may be anything everywhere.
            wanted: what is asked for; elsewhere it is anything. None: all.
        """
        return self.on.convolve(image, self._transform, filled=filled, wanted=wanted)

    def adjoint(
        self,
        image: Any,
        *,
        filled: Slices | None = None,
        wanted: Slices | None = None,
        out: Any = None,
    ) -> Any:
        """The convolution with the function turned around; it may come to be in `out`."""
        return self.on.convolve(
            image, self._transform, "adjoint", filled=filled, wanted=wanted, out=out
        )

    def both(self, image: Any, wanted: Slices | None = None) -> Any:
        """`hᵀ ∗ h ∗ image`; the image may be overwritten."""
        return self.on.convolve(image, self._transform, "both", wanted=wanted, out=image)


def centred(psf: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A point spread function in an array of a shape, its middle at the first voxel."""
    whole = np.zeros(shape, np.float32)
    halves = [
        ((slice(k // 2, k), slice(0, k - k // 2)), (slice(0, k // 2), slice(n - k // 2, n)))
        for k, n in zip(psf.shape, shape, strict=True)
    ]
    for corner in itertools.product(*halves):
        source, target = zip(*corner, strict=True)
        whole[target] = psf[source]
    return whole


def fast_shape(least: Sequence[int]) -> tuple[int, ...]:
    """The lengths, each the least or a little more, of which a real FFT is fast.

    The last but one is even: see `side_by_side`.
    """
    *others, last = (int(fft.next_fast_len(side, real=True)) for side in least)
    pairs = fft.next_fast_len(-(-least[-2] // 2), real=True)
    return (*others[:-1], 2 * int(pairs), last)
