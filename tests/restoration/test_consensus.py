"""Gradient consensus: it ends by itself, near the truth, and does not follow noise."""

import math

import numpy as np
import pytest

from cellmill.datasets.phantoms import spheres
from cellmill.errors import BadInput
from cellmill.restoration import Camera, Microscope, blur, deconvolve, expose, make_psf
from cellmill.restoration.assessment import noise_left, photon_gain
from cellmill.restoration.consensus import LEAST_AGREED

SPACING = (0.4, 0.2, 0.2)
PSF = make_psf(Microscope(0.8, 520, immersion_index=1.33), SPACING, (9, 9, 9))
PHOTONS = 30


@pytest.fixture(scope="module")
def simulated():
    """What a camera saw, and the objects in its unit."""
    objects, _ = spheres((12, 36, 36), SPACING, count=4, radius_um=(0.8, 1.6), seed=1)
    blurred = blur(objects.astype(np.float32), PSF)
    seen = expose(blurred, Camera(photons=PHOTONS, background_photons=5), seed=2)
    return seen, objects * np.float32(PHOTONS / blurred.max())


def error(found, true):
    return math.sqrt(np.mean((found.image - true) ** 2))


@pytest.mark.parametrize("more", [{}, {"accelerate": True}, {"total_variation": 2e-3}], ids=str)
def test_it_ends_by_itself_near_the_best_number_of_iterations(simulated, more):
    seen, true = simulated
    given = {"background": 5, "spacing": SPACING, "residual": True, **more}
    found = deconvolve(seen, PSF, iterations=300, consensus=True, **given)
    assert len(found.curve) < 100
    assert found.curve[-1].agreed < LEAST_AGREED
    plain = [deconvolve(seen, PSF, iterations=n, **given) for n in (10, 20, 30, 80)]
    assert error(found, true) < 1.12 * min(error(each, true) for each in plain)
    assert noise_left(found.residual, PSF) > max(0.8, noise_left(plain[-1].residual, PSF))


def test_grey_levels_of_any_gain_give_the_same(simulated):
    seen, _ = simulated
    given = {"iterations": 40, "consensus": True}
    photons = deconvolve(seen, PSF, background=5, **given)
    levels = deconvolve(seen * 4, PSF, background=20, gain=4, **given)
    assert len(levels.curve) == len(photons.curve)
    assert np.allclose(levels.image, photons.image * 4, rtol=1e-3, atol=1e-2)
    doubted = deconvolve(seen * 4, PSF, background=20, gain=40, **given)
    assert len(doubted.curve) < len(photons.curve)


def test_noise_alone_asks_for_nothing():
    seen = np.random.default_rng(0).poisson(30, (12, 36, 36)).astype(np.float32)
    found = deconvolve(seen, PSF, iterations=200, consensus=True).image
    plain = deconvolve(seen, PSF, iterations=200).image
    assert found.std() < plain.std() / 10


def test_what_has_no_noise_is_followed_as_ever(simulated):
    _, true = simulated
    seen = blur(true, PSF) + np.float32(5)
    given = {"iterations": 20, "background": 5}
    found = deconvolve(seen, PSF, consensus=True, gain=1e-9, **given)
    plain = deconvolve(seen, PSF, **given)
    assert np.abs(found.image - plain.image).max() < 1e-2 * plain.image.max()


def test_threads_change_no_bit(simulated):
    given = {"iterations": 6, "consensus": True, "background": 5}
    one, three = (deconvolve(simulated[0], PSF, threads=k, **given) for k in (1, 3))
    assert np.array_equal(one.image, three.image)
    assert one.curve == three.curve


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("planes", [True, False])
def test_the_gain_is_read_off_the_noise(simulated, gain, planes):
    _, true = simulated
    psf = PSF if planes else PSF[4] / PSF[4].sum()
    blurred = blur(true if planes else np.tile(true[6], (6, 6)), psf)
    camera = Camera(photons=100, background_photons=5, gain=gain)
    found = [photon_gain(expose(blurred, camera, seed=seed), psf) for seed in range(6)]
    assert np.mean(found) == pytest.approx(gain, rel=0.1)


def test_a_gain_that_nothing_tells_is_nan():
    sharp = np.zeros((3, 3, 3), np.float32)
    sharp[1, 1, 1] = 1
    seen = np.random.default_rng(0).poisson(30, (12, 36, 36)).astype(np.float32)
    assert math.isnan(photon_gain(seen, sharp))
    assert math.isnan(photon_gain(np.zeros((12, 36, 36), np.float32), PSF))


@pytest.mark.parametrize("gain", [0, -1, math.nan])
def test_an_impossible_gain_is_one_line(simulated, gain):
    with pytest.raises(BadInput, match="gain: expected grey levels a photon, above 0"):
        deconvolve(simulated[0], PSF, consensus=True, gain=gain)
