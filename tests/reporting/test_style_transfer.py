"""Spectra on the page of a style transfer."""

import numpy as np

from cellmill.reporting.style_transfer import radial_spectrum


def test_noise_has_its_variance_at_every_frequency():
    noise = np.random.default_rng(0).normal(0, 3, (40, 64, 64))
    assert np.abs(radial_spectrum(noise)[1:] / 9 - 1).max() < 0.2


def test_a_wave_is_found_at_its_frequency():
    y, x = np.mgrid[:64, :64]
    for wave in (np.cos(2 * np.pi * x / 8), np.cos(2 * np.pi * y / 8)):
        assert radial_spectrum(wave[None], bins=16).argmax() == round(2 * 16 / 8)
