"""What restoration is judged by: errors, spectra, the noise that is left; checks of functions."""

import math

import numpy as np
import pytest
from scipy import ndimage

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, blur, deconvolve, describe_psf, make_psf
from cellmill.restoration.assessment import (
    axial_spectrum,
    lateral_spectrum,
    noise_left,
    root_mean_square_error,
)
from cellmill.restoration.background import background_level
from cellmill.restoration.denoising import noise_sigma
from cellmill.restoration.psf_checks import centred_psf, check_voxel_size, psf_warnings

SPACING = (0.3, 0.15, 0.15)
PSF = make_psf(Microscope(1.0, 520, immersion_index=1.33), SPACING, (11, 15, 15))


def test_the_error_is_the_formula():
    assert root_mean_square_error(np.array([1.0, 2.0]), np.array([1.0, 5.0])) == math.sqrt(4.5)
    with pytest.raises(BadInput, match="truth: expected shape"):
        root_mean_square_error(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("shape", [(64, 64), (6, 64, 48)])
def test_a_wave_is_a_peak_at_its_frequency(shape):
    x = np.arange(shape[-1]) * 0.15
    image = np.broadcast_to(np.sin(2 * np.pi * 1.5 * x), shape).astype(np.float32)
    spectrum = lateral_spectrum(image, SPACING[-len(shape) :])
    assert spectrum.frequency[spectrum.power.argmax()] == pytest.approx(1.5, abs=0.12)


def test_a_wave_along_z_is_a_peak_of_the_axial_spectrum():
    z = np.arange(40) * 0.3
    wave = np.sin(2 * np.pi * 0.75 * z)[:, None, None]
    image = np.broadcast_to(wave, (40, 5, 6)) * np.random.default_rng(0).uniform(1, 2, (5, 6))
    spectrum = axial_spectrum(image.astype(np.float32), SPACING)
    assert spectrum.frequency[spectrum.power.argmax()] == pytest.approx(0.75, abs=0.1)


def acquired_of(objects, seed=0):
    light = blur(objects, PSF) + 10
    return light, np.random.default_rng(seed).poisson(light).astype(np.float32)


def test_noise_is_left_alone_by_the_truth_and_fitted_by_too_many_iterations():
    objects = np.zeros((20, 56, 60), np.float32)
    objects[6:14, 16:40, 18:44] = 100
    light, acquired = acquired_of(objects)
    assert noise_left(acquired - light, PSF) == pytest.approx(1, abs=0.1)
    over = deconvolve(acquired, PSF, iterations=150, accelerate=True, background=10, residual=True)
    assert noise_left(over.residual, PSF) < 0.75


def test_detail_that_is_missing_is_no_noise():
    objects = np.zeros((20, 56, 60), np.float32)
    objects[6:14, 16:40:4, 18:44:4] = 4000
    _, acquired = acquired_of(objects)
    under = deconvolve(acquired, PSF, iterations=1, background=10, residual=True)
    assert noise_left(under.residual, PSF) > 2


def test_coarse_voxels_leave_nothing_to_compare_with():
    psf = np.zeros((3, 3, 3), np.float32)
    psf[1, 1, 1] = 1
    noise = np.random.default_rng(0).normal(size=(8, 20, 20)).astype(np.float32)
    assert math.isnan(noise_left(noise, psf))


@pytest.mark.parametrize("shape", [(80, 90), (8, 60, 64)])
@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_noise_is_estimated_under_structure(shape, sigma):
    random = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(random.normal(size=shape), 8) * 400 * sigma
    noisy = smooth + random.normal(0, sigma, shape)
    assert noise_sigma(noisy) == pytest.approx(sigma, rel=0.1)


def test_the_level_under_spots_is_found():
    random = np.random.default_rng(1)
    image = random.poisson(100, (10, 60, 60)).astype(np.float32)
    image[3:6, 20:30, 20:30] += 500
    assert background_level(image) == pytest.approx(100, abs=3)


def test_a_function_is_cut_around_its_point():
    moved = np.pad(PSF, ((4, 0), (0, 6), (2, 0)))
    found = centred_psf(moved)
    assert describe_psf(found, SPACING).centre_offset_px == pytest.approx((0, 0, 0), abs=0.01)
    # What moved it is cut off again.
    assert found.shape == PSF.shape
    assert np.allclose(found, PSF, atol=1e-6)


@pytest.mark.parametrize(
    ("psf", "line"),
    [
        (np.pad(PSF, ((4, 0), (0, 0), (0, 0))), "beside the middle"),
        (PSF[:, 5:10, 5:10], "cut off, or lies on a background"),
        (PSF[4:7], "along z it does not fall to half"),
        (PSF[::3], "fewer than 2 samples"),
    ],
)
def test_what_may_be_wrong_is_said(psf, line):
    spacing = (0.9, 0.15, 0.15) if len(psf) == 4 else SPACING
    assert any(line in said for said in psf_warnings(describe_psf(psf, spacing), spacing))


def test_a_good_function_is_not_complained_of():
    fine = (0.3, 0.12, 0.12)
    wide = make_psf(Microscope(1.0, 520, immersion_index=1.33), fine, (41, 41, 41))
    assert psf_warnings(describe_psf(wide, fine), fine) == ()


def test_other_voxels_are_refused_and_roundings_are_not():
    check_voxel_size("image 'a'", (0.3, 0.15, 0.15), (0.3, 0.1500001, 0.152))
    check_voxel_size("image 'a'", (0.15, 0.15), SPACING)
    with pytest.raises(BadInput, match=r"PSF for image 'a': expected one for its voxels of 0\.3"):
        check_voxel_size("image 'a'", SPACING, (0.3, 0.15, 0.2))
