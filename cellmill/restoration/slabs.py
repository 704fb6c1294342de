"""Convolution by real FFTs, axis by axis in slabs that a processor's cache holds.

Along the last axes slabs are planes, or rows of an image; along the first axis they are columns,
and what is transformed is multiplied and transformed back while it is in the cache. What is known
to be 0, and what nobody asks for, is not transformed. Slabs follow from shapes alone, so threads
change no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import fft

from cellmill.compute.threads import in_threads
from cellmill.restoration import richardson_lucy_kernels as kernels

Slices = tuple[slice, ...]
#: Bytes of a slab's spectrum.
_SLAB = 1 << 19


def convolve_by_slabs(
    image: np.ndarray,
    transform: np.ndarray,
    *,
    conjugate: bool = False,
    filled: Slices | None = None,
    wanted: Slices | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Circular convolution by the real transform of a function.

    Args:
        image: float32, `(Y, X)` or `(Z, Y, X)`.
        transform: complex64, as `rfftn` gives it.
        conjugate: by the function turned around.
        filled: where the image is not 0; None: everywhere.
        wanted: what is asked for; elsewhere the result is anything. None: all.
        threads: how many.

    Returns:
        float32 of the image's shape.
    """
    spectrum = np.empty(transform.shape, np.complex64)
    out = np.empty(image.shape, np.float32)
    full = tuple(slice(0, n) for n in image.shape)
    filled, wanted = filled or full, wanted or full
    inner = tuple(range(1, image.ndim - 1))

    def into(band: slice) -> None:
        there = (band, *filled[1:-1])
        rows = fft.rfft(image[there], axis=-1)
        for axis in inner:
            whole = np.zeros((len(rows), *transform.shape[1:]), np.complex64)
            whole[:, filled[axis]] = rows
            rows = fft.fft(whole, axis=axis, overwrite_x=True)
        spectrum[band] = rows

    def through(columns: slice) -> None:
        part = fft.fft(lines[:, columns], axis=0)
        if conjugate:
            kernels.times_conjugate(part, factors[:, columns], 0, len(part))
        else:
            part *= factors[:, columns]
        lines[:, columns] = fft.ifft(part, axis=0, overwrite_x=True)

    def back(band: slice) -> None:
        rows = spectrum[band]
        for axis in inner:
            rows = fft.ifft(rows, axis=axis)[:, wanted[axis]]
        there = (band, *wanted[1:-1])
        out[there] = fft.irfft(rows, n=image.shape[-1], axis=-1)

    plane = transform[0].nbytes
    _each(into, filled[0], plane, threads)
    spectrum[: filled[0].start] = 0
    spectrum[filled[0].stop :] = 0
    lines, factors = (each.reshape(len(each), -1) for each in (spectrum, transform))
    _each(through, slice(0, lines.shape[1]), 8 * len(lines), threads)
    _each(back, wanted[0], plane, threads)
    return out


def _each(work: Callable[[slice], Any], part: slice, bytes_each: int, threads: int) -> None:
    """Work on slabs of a part of an axis."""
    step = max(1, _SLAB // bytes_each)
    starts = range(part.start, part.stop, step)
    in_threads(work, [slice(a, min(a + step, part.stop)) for a in starts], threads)
