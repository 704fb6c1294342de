"""How a microscope makes an image of an object: blur, photons, background, read noise, bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cellmill.errors import BadInput
from cellmill.restoration.fourier import Convolution, fast_shape
from cellmill.restoration.light import checked_light, checked_psf, odd_psf


@dataclass(frozen=True)
class Camera:
    """What becomes of light in a camera.

    Attributes:
        photons: of the brightest voxel of the blurred object, above the background; 0 leaves the
            blurred object as it is, without photon noise.
        background_photons: everywhere.
        read_noise: σ of what reading adds, in electrons; an electron is a photon.
        gain: grey levels an electron.
        offset: grey levels that are added.
        bits: of the grey levels, 8 to 16; 0 gives float32, neither rounded nor cut off.

    Raises:
        BadInput: a value is impossible.
    """

    photons: float = 0.0
    background_photons: float = 0.0
    read_noise: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    bits: int = 0

    def __post_init__(self) -> None:
        """Refuse what no camera is."""
        for name in ("photons", "background_photons", "read_noise", "offset"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise BadInput(name, expected="0 or more", found=f"{value:g}")
        if not 0 < self.gain < math.inf:
            raise BadInput("gain", expected="above 0", found=f"{self.gain:g}")
        if self.bits and not 8 <= self.bits <= 16:
            raise BadInput("bits", expected="8 to 16, or 0 for float32", found=f"{self.bits}")


def blur(object_: np.ndarray, psf: np.ndarray, threads: int | None = None) -> np.ndarray:
    """The object as a perfect camera would see it: convolved, nothing beyond its edges.

    Args:
        object_: `(Y, X)` or `(Z, Y, X)`, not negative.
        psf: as many axes; it is divided by its sum.
        threads: how many; None is `thread_count()`.

    Returns:
        float32 of the object's shape, not negative.

    Raises:
        BadInput: the object or the function is not what it must be.
    """
    given = checked_light(object_)
    kernel = odd_psf(checked_psf(psf, given.ndim))
    shape = fast_shape([n + k // 2 for n, k in zip(given.shape, kernel.shape, strict=True)])
    # A function wider than the object reaches beyond its other side, where nobody looks.
    shape = tuple(max(s, k) for s, k in zip(shape, kernel.shape, strict=True))
    padded = np.zeros(shape, np.float32)
    core = tuple(slice(0, n) for n in given.shape)
    padded[core] = given
    return np.maximum(Convolution(kernel, shape, threads).forward(padded)[core], 0)


def expose(blurred: np.ndarray, camera: Camera, seed: int = 0) -> np.ndarray:
    """What a camera makes of blurred light.

    Args:
        blurred: not negative; its maximum becomes `camera.photons`.
        camera: the camera.
        seed: of the noise; the same seed gives the same image.

    Returns:
        Of the same shape: uint8 up to 8 bits, uint16 up to 16, float32 where `bits` is 0.

    Raises:
        BadInput: the light is not what it must be.
    """
    light = checked_light(blurred).astype(np.float64)
    random = np.random.default_rng(seed)
    if camera.photons:
        light *= camera.photons / max(float(light.max()), 1e-30)
    electrons = light + camera.background_photons
    if camera.photons or camera.background_photons:
        electrons = random.poisson(electrons).astype(np.float64)
    if camera.read_noise:
        electrons += random.normal(0, camera.read_noise, electrons.shape)
    levels = electrons * camera.gain + camera.offset
    if not camera.bits:
        return levels.astype(np.float32)
    grey = np.clip(np.rint(levels), 0, 2**camera.bits - 1)
    return grey.astype(np.uint8 if camera.bits == 8 else np.uint16)
