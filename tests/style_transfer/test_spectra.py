"""Spectra of planes, and how far they lie apart."""

import numpy as np
import pytest
import scipy.ndimage

from cellmill.style_transfer.spectra import radial_spectrum, spectrum_gap


def test_noise_has_its_variance_at_every_frequency():
    noise = np.random.default_rng(0).normal(0, 3, (40, 64, 64))
    assert np.abs(radial_spectrum(noise)[1:] / 9 - 1).max() < 0.2


def test_a_wave_is_found_at_its_frequency():
    y, x = np.mgrid[:64, :64]
    for wave in (np.cos(2 * np.pi * x / 8), np.cos(2 * np.pi * y / 8)):
        assert radial_spectrum(wave[None], bins=16).argmax() == round(2 * 16 / 8)


def test_a_gap_is_that_of_the_powers_whatever_is_shown():
    noise = np.random.default_rng(0).normal(0, 3, (40, 64, 64))
    assert spectrum_gap(noise, noise[:, ::-1]) == pytest.approx(0, abs=1e-12)
    assert spectrum_gap(noise, 10 * noise) == pytest.approx(2, abs=1e-3)
    assert spectrum_gap(noise[:20], noise[20:, :48, :48]) < 0.1
    blurred = [scipy.ndimage.gaussian_filter(noise, (0, s, s)) for s in (0.5, 1, 2)]
    gaps = [spectrum_gap(noise, each) for each in blurred]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0.2
