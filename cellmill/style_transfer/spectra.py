"""How much planes hold of what is fine and of what is coarse, and how far planes differ in it."""

from __future__ import annotations

import numpy as np

#: Added to a power before its logarithm is taken, grey values squared.
_FLOOR = 1e-3


def radial_spectrum(planes: np.ndarray, bins: int = 24) -> np.ndarray:
    """The mean power of planes `(N, Y, X)` by frequency, from 0 to half a cycle a pixel."""
    grey = planes - planes.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.rfft2(grey)) ** 2).mean(0) / grey[0].size
    rows = np.fft.fftfreq(planes.shape[1])[:, None]
    frequency = np.hypot(rows, np.fft.rfftfreq(planes.shape[2]))
    place = np.minimum((frequency * 2 * bins).astype(int), bins)
    total = np.bincount(place.ravel(), power.ravel(), bins + 1)
    count = np.bincount(place.ravel(), minlength=bins + 1)
    return np.asarray(total[:bins] / np.maximum(count[:bins], 1))


def log_spectrum(planes: np.ndarray) -> np.ndarray:
    """Logarithm to base 10 of the power of planes `(N, Y, X)` of grey values, by frequency."""
    return np.log10(radial_spectrum(planes) + _FLOOR)


def spectrum_gap(planes: np.ndarray, others: np.ndarray) -> float:
    """How far the spectra of two lots of planes lie apart: mean |log10 power - log10 power|.

    The planes `(N, Y, X)` of grey values need not show the same, nor be as many or as large.
    """
    # The coarsest bin holds the mean, which was taken away, and of small planes nothing else.
    return float(np.abs(log_spectrum(planes) - log_spectrum(others))[1:].mean())
