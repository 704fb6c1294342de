"""What restoration did to an image: error against the truth, spectra, noise that was fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput

#: Between these parts of what passes at frequency 0 a microscope passes little, and below this
#: next to nothing; so many frequencies of each there must be.
_WEAK, _NOTHING, _LEAST_FREQUENCIES = (0.02, 0.1), 2e-3, 200
#: Voxels of an image that is looked at whole; the windows of a larger one, and their sides by axes.
_AT_ONCE, _WINDOWS, _WINDOW = 1 << 24, 5, {2: 2048, 3: 160}


@dataclass(frozen=True)
class Spectrum:
    """Power by spatial frequency.

    Attributes:
        frequency: cycles per µm, ascending, without 0.
        power: mean over all directions, as a part of that at the lowest frequency.
    """

    frequency: np.ndarray
    power: np.ndarray


def root_mean_square_error(image: np.ndarray, truth: np.ndarray) -> float:
    """√ mean (image - truth)², in the image's unit.

    Raises:
        BadInput: they are of different shapes.
    """
    if image.shape != truth.shape:
        raise BadInput("truth", expected=f"shape {image.shape}", found=f"{truth.shape}")
    return math.sqrt(float(np.mean((image.astype(np.float64) - truth) ** 2)))


def lateral_spectrum(image: np.ndarray, spacing: Sequence[float], bins: int = 48) -> Spectrum:
    """Power spectrum in the planes, by radius, a Hann window over each plane, mean of all planes.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`.
        spacing: µm per pixel (y, x).
        bins: points of the curve.
    """
    planes = image if image.ndim == 3 else image[None]
    height, width = planes.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    power = np.zeros((height, width // 2 + 1))
    for plane in planes:
        flat = (plane - plane.mean()) * window
        power += np.abs(fft.rfft2(flat)) ** 2
    frequencies = np.hypot(
        fft.fftfreq(height, spacing[-2])[:, None], fft.rfftfreq(width, spacing[-1])[None, :]
    )
    return _by_radius(frequencies, power, 0.5 / max(spacing[-2:]), bins)


def axial_spectrum(image: np.ndarray, spacing: Sequence[float]) -> Spectrum:
    """Power spectrum along z, mean of all columns, a Hann window over each.

    Args:
        image: `(Z, Y, X)`.
        spacing: µm per voxel (z, y, x).
    """
    window = np.hanning(image.shape[0]).astype(np.float32)[:, None, None]
    spectrum = fft.rfft((image - image.mean(axis=0)) * window, axis=0)
    power = (np.abs(spectrum) ** 2).mean(axis=(1, 2))
    frequency = fft.rfftfreq(image.shape[0], spacing[0])
    lowest = max(float(power[1]) if len(power) > 1 else 0.0, 1e-30)
    return Spectrum(frequency[1:], power[1:] / lowest)


def noise_left(residual: np.ndarray, psf: np.ndarray) -> float:
    """How much of the noise the model has left alone: 1 is all of it.

    What was acquired less the model holds the noise, which is white, and what is not explained yet,
    which is only where the microscope passes something. So the residual's power where the
    microscope passes little, but something, is compared with its power where it passes nothing:
    well below 1, noise was taken for detail; well above, detail is still missing, or the function
    is another than the microscope's.

    Args:
        residual: acquired less model, `(Y, X)` or `(Z, Y, X)`.
        psf: the point spread function, as many axes.

    Returns:
        The ratio; NaN where voxels are so coarse that the microscope passes every frequency.
    """
    passed = np.abs(fft.rfftn(_wrapped(psf, residual.shape)))
    power = np.abs(fft.rfftn(residual - residual.mean(dtype=np.float64))) ** 2
    weak = (passed > _WEAK[0]) & (passed <= _WEAK[1])
    nothing = passed < _NOTHING
    if min(weak.sum(), nothing.sum()) < _LEAST_FREQUENCIES or not power[nothing].mean() > 0:
        return math.nan
    return float(power[weak].mean() / power[nothing].mean())


def photon_gain_of(image: Windowed, psf: np.ndarray) -> float:
    """As `photon_gain`, of an image of any size: of a large one the median of what windows say.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, without the camera's offset; windows are read one by one,
            evenly along the diagonal.
        psf: the point spread function, as many axes.

    Returns:
        The gain; NaN where no window tells it.
    """
    if math.prod(image.shape) <= _AT_ONCE:
        return photon_gain(np.asarray(image[(slice(None),) * len(image.shape)]), psf)
    side = _WINDOW[len(image.shape)]
    found = []
    for k in range(_WINDOWS):
        first = [max(n - side, 0) * k // (_WINDOWS - 1) for n in image.shape]
        part = image[tuple(slice(start, start + side) for start in first)]
        found.append(photon_gain(np.asarray(part), psf))
    told = [each for each in found if not math.isnan(each)]
    return float(np.median(told)) if told else math.nan


def photon_gain(image: np.ndarray, psf: np.ndarray) -> float:
    """Grey levels a photon, from what noise an image has where its microscope passes nothing.

    The noise of photons is white, and its variance is the gain times the light. Its power is the
    median of that at frequencies which the microscope does not pass, of the image under a Hann
    window. Read noise counts as if it were photons'.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, without the camera's offset.
        psf: the point spread function, as many axes.

    Returns:
        The gain; NaN where voxels are so coarse that the microscope passes every frequency, or
        the image has no noise.
    """
    window = np.ones(image.shape, np.float32)
    for axis, side in enumerate(image.shape):
        line = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
        window *= line.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    mean = np.average(image, weights=window)
    power = np.abs(fft.rfftn((image - mean).astype(np.float32) * window)) ** 2
    nothing = np.abs(fft.rfftn(_wrapped(psf, image.shape))) < _NOTHING
    light = float((window**2 * image).sum(dtype=np.float64))
    if nothing.sum() < _LEAST_FREQUENCIES or not light > 0:
        return math.nan
    # The power of white noise at a frequency is exponential, whose median is ln 2 of its mean.
    gain = float(np.median(power[nothing])) / math.log(2) / light
    return gain if gain > 0 else math.nan


def _wrapped(psf: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A point spread function around the first voxel of an array, wrapped where it is wider."""
    out = np.zeros(shape, np.float32)
    places = [(np.arange(n) - n // 2) % side for n, side in zip(psf.shape, shape, strict=True)]
    np.add.at(out, np.ix_(*places), psf / psf.sum(dtype=np.float64))
    return out


def _by_radius(frequencies: np.ndarray, power: np.ndarray, highest: float, bins: int) -> Spectrum:
    edges = np.linspace(0, highest, bins + 1)
    place = np.digitize(frequencies.ravel(), edges) - 1
    inside = (place >= 0) & (place < bins) & (frequencies.ravel() > 0)
    sums = np.bincount(place[inside], power.ravel()[inside], bins)
    counts = np.bincount(place[inside], minlength=bins)
    known = counts > 0
    means = sums[known] / counts[known]
    middle = (edges[:-1] + edges[1:])[known] / 2
    return Spectrum(middle, means / max(float(means[0]) if len(means) else 0.0, 1e-30))
