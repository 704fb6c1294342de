"""The vectorial model: the sum of polarised plane waves, the scalar at low aperture, Fresnel."""

import math

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, describe_psf, make_psf
from cellmill.restoration.vectorial import transmission

OIL = {"immersion_index": 1.515, "cover_slip_index": 1.515}


def focused(points, sine, number):
    """Intensity of unpolarised light that an aplanatic lens focuses, plane wave by plane wave."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    theta, weight = (nodes + 1) * math.asin(sine) / 2, weights
    phi = np.arange(96) * 2 * np.pi / 96
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    across = np.stack([-np.sin(p), np.cos(p), 0 * p])
    along = np.stack([np.cos(t) * np.cos(p), np.cos(t) * np.sin(p), -np.sin(t)])
    way = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)])
    size = np.repeat(weight, len(phi)) * np.sqrt(np.cos(t)) * np.sin(t)
    phase = np.exp(1j * number * points @ way)
    total = 0
    for x, y in ((1, 0), (0, 1)):
        into, beside = x * np.cos(p) + y * np.sin(p), y * np.cos(p) - x * np.sin(p)
        field = phase @ (size * (into * along + beside * across)).T
        total = total + (np.abs(field) ** 2).sum(axis=1)
    return total


@pytest.mark.parametrize("aperture", [0.5, 1.0, 1.4])
def test_it_is_the_sum_of_polarised_plane_waves(aperture):
    spacing = (0.15, 0.06, 0.06)
    # Excited and seen at points, it is the square of what one focus is.
    scanned = Microscope(aperture, 520, kind="confocal", pinhole_airy=0, model="vectorial", **OIL)
    found = np.sqrt(make_psf(scanned, spacing, (5, 9, 9)).astype(np.float64))
    places = np.indices((5, 9, 9)).reshape(3, -1).T - np.array([2, 4, 4])
    points = (places * spacing)[:, [2, 1, 0]]
    expected = focused(points, aperture / 1.515, 2 * np.pi * 1.515 / 0.52).reshape(5, 9, 9)
    assert np.allclose(found / found.max(), expected / expected.max(), atol=2e-3)


@pytest.mark.parametrize("kind", ["widefield", "confocal"])
@pytest.mark.parametrize("depth", [0, 20])
def test_at_low_aperture_it_is_the_scalar(kind, depth):
    given = {"kind": kind, "immersion_index": 1.0, "sample_index": 1.33, "depth_um": depth}
    scalar, vectorial = (
        make_psf(Microscope(0.15, 520, model=model, **given), (4, 0.6, 0.6), (9, 11, 11))
        for model in ("scalar", "vectorial")
    )
    assert np.abs(vectorial - scalar).max() < 0.01 * scalar.max()


def test_at_high_aperture_it_is_wider_across_and_no_narrower_than_diffraction_lets():
    spacing = (0.05, 0.02, 0.02)
    widths = {}
    for aperture in (0.6, 1.0, 1.4):
        for model in ("scalar", "vectorial"):
            psf = make_psf(Microscope(aperture, 520, model=model, **OIL), spacing, (21, 41, 41))
            facts = describe_psf(psf[10], spacing[1:])
            widths[aperture, model] = facts.fwhm_um[0]
            assert facts.fwhm_um[0] == pytest.approx(facts.fwhm_um[1], rel=1e-6)
            assert facts.fwhm_um[0] > 0.5 * 0.52 / aperture
            assert psf.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    ratios = [widths[a, "vectorial"] / widths[a, "scalar"] for a in (0.6, 1.0, 1.4)]
    assert 1 < ratios[0] < ratios[1] < ratios[2]


def test_along_the_axis_it_is_richards_and_wolfs_integral():
    """I₀ on the axis is ∫ √cos θ sin θ (1 + cos θ) exp(i k z cos θ) dθ (1959)."""
    spacing, number = (0.1, 0.1, 0.1), 2 * np.pi * 1.515 / 0.52
    scanned = Microscope(1.4, 520, kind="confocal", pinhole_airy=0, model="vectorial", **OIL)
    found = np.sqrt(make_psf(scanned, spacing, (11, 3, 3))[:, 1, 1].astype(np.float64))
    theta = np.linspace(0, math.asin(1.4 / 1.515), 4001)
    z = (np.arange(11) - 5) * 0.1
    shape = np.sqrt(np.cos(theta)) * np.sin(theta) * (1 + np.cos(theta))
    waves = shape * np.exp(1j * number * z[:, None] * np.cos(theta))
    expected = np.abs(np.trapezoid(waves, theta, axis=1)) ** 2
    assert np.allclose(found / found.max(), expected / expected.max(), atol=1e-3)


def test_surfaces_let_through_what_fresnel_says():
    s = np.linspace(0, 1.2, 50)
    across, along = transmission(s, (1.515, 1.33))
    assert across[0] == pytest.approx(2 * 1.515 / (1.515 + 1.33))
    assert along[0] == pytest.approx(across[0])
    one, two = (np.sqrt(1 - (s / n) ** 2) for n in (1.515, 1.33))
    # Forth and back pass what is not reflected: t t' = 1 - r².
    back = transmission(s, (1.33, 1.515))
    across_r = (1.515 * one - 1.33 * two) / (1.515 * one + 1.33 * two)
    along_r = (1.33 * one - 1.515 * two) / (1.33 * one + 1.515 * two)
    assert np.allclose(across * back[0], 1 - across_r**2)
    assert np.allclose(along * back[1], 1 - along_r**2)
    # At Brewster's angle all light polarised in the plane passes.
    brewster = np.array([1.515 * math.sin(math.atan(1.33 / 1.515))])
    there, again = (transmission(brewster, pair)[1] for pair in ((1.515, 1.33), (1.33, 1.515)))
    assert there * again == pytest.approx(1)
    assert np.allclose(transmission(s, (1.515, 1.515, 1.515)), 1)


def test_another_model_is_one_line():
    with pytest.raises(BadInput, match="model: expected one of scalar, vectorial"):
        Microscope(1.0, 520, model="quantum")
