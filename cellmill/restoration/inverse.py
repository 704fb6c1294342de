"""The regularised inverse filter: one pass, for a quick look."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from cellmill.compute.threads import thread_count
from cellmill.errors import BadInput
from cellmill.restoration.fourier import centred, fast_shape
from cellmill.restoration.light import checked_light, checked_psf, odd_psf


def regularised_inverse(
    image: np.ndarray,
    psf: np.ndarray,
    *,
    penalty: float = 1e-2,
    background: float = 0.0,
    threads: int | None = None,
) -> np.ndarray:
    """Undo a blur by dividing spectra, where the microscope passes more than noise.

    Tikhonov's solution of h ∗ x = y - b with a penalty on |x|². Beyond the edge the image is taken
    to go on as it is at its rim. It has ringing and negative values; `deconvolve` has neither.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, not negative.
        psf: the point spread function, as many axes; it is divided by its sum.
        penalty: as a part of the strongest frequency's power; more is smoother.
        background: taken off before.
        threads: how many; None is `thread_count()`.

    Returns:
        float32 of the image's shape.

    Raises:
        BadInput: the image or the function is not what it must be, or the penalty is not above 0.
    """
    if not 0 < penalty < math.inf:
        raise BadInput("penalty", expected="above 0", found=f"{penalty:g}")
    given = checked_light(image) - np.float32(background)
    kernel = odd_psf(checked_psf(psf, given.ndim))
    radii = [side // 2 for side in kernel.shape]
    shape = fast_shape([n + 2 * r for n, r in zip(given.shape, radii, strict=True)])
    sides = zip(shape, given.shape, radii, strict=True)
    padded = np.pad(given, [(r, whole - n - r) for whole, n, r in sides], mode="edge")
    workers = thread_count() if threads is None else threads
    transform = fft.rfftn(centred(kernel, shape), workers=workers)
    spectrum = fft.rfftn(padded, workers=workers) * transform.conj()
    spectrum /= transform.real**2 + transform.imag**2 + np.float32(penalty)
    found = fft.irfftn(spectrum, s=shape, workers=workers, overwrite_x=True)
    core = tuple(slice(r, r + n) for n, r in zip(given.shape, radii, strict=True))
    return np.ascontiguousarray(found[core])
