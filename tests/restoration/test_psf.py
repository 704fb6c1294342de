"""Point spread functions: widths from theory, sum, centre; what mismatch does; refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special

from cellmill.errors import BadInput
from cellmill.restoration import Microscope, describe_psf, make_psf


@pytest.mark.parametrize(
    ("aperture", "index"), [(0.3, 1.0), (0.75, 1.0), (0.95, 1.0), (1.2, 1.33), (1.4, 1.515)]
)
def test_widths_are_those_of_theory(aperture, index):
    """Lateral 0.515 λ/NA; axial 0.88 λ / (n - √(n² - NA²)), which itself is an approximation."""
    microscope = Microscope(aperture, 520, immersion_index=index)
    lateral = 0.515 * 0.52 / aperture
    axial = 0.88 * 0.52 / (index - math.sqrt(index**2 - aperture**2))
    spacing = (axial / 12, lateral / 12, lateral / 12)
    facts = describe_psf(make_psf(microscope, spacing, (63, 49, 49)), spacing)
    assert facts.fwhm_um[1:] == pytest.approx((lateral, lateral), rel=0.01)
    assert facts.fwhm_um[0] == pytest.approx(axial, rel=0.07)
    assert facts.total == pytest.approx(1, abs=1e-5)
    assert facts.centre_offset_px == pytest.approx((0, 0, 0), abs=1e-6)


@pytest.mark.parametrize(
    "optics",
    [
        {"numerical_aperture": 0.5, "immersion_index": 1.0},
        {"numerical_aperture": 1.0, "immersion_index": 1.33},
        {"numerical_aperture": 1.3, "sample_index": 1.33, "depth_um": 4.0},
    ],
)
def test_values_are_those_of_adaptive_quadrature(optics):
    """Gibson and Lanni's integral by SciPy, in pixels so small that it makes no difference."""
    step, shape = (0.15, 0.005, 0.01), (13, 1, 61)
    found = make_psf(Microscope(emission_nm=520, **optics), step, shape)[:, 0, 30:]
    medium, sample = (optics.get(name, 1.515) for name in ("immersion_index", "sample_index"))
    sample = optics.get("sample_index", medium)
    aperture, depth, k = optics["numerical_aperture"], optics.get("depth_um", 0), 2 * np.pi / 0.52

    def seen(z, radius):
        def field(rho):
            s = aperture * rho
            layer = -(z + medium * depth / sample)
            path = depth * np.sqrt(sample**2 - s**2) + layer * np.sqrt(medium**2 - s**2)
            return special.j0(k * s * radius) * np.exp(1j * k * path) * rho

        top = min(1, sample / aperture)
        return abs(integrate.quad(field, 0, top, complex_func=True, limit=500)[0]) ** 2

    places = np.linspace(-6, 6, 241)
    best = places[np.argmax([seen(z, 0) for z in places])]
    focus = optimize.minimize_scalar(
        lambda z: -seen(z, 0), bounds=(best - 0.1, best + 0.1), method="bounded"
    ).x
    expected = np.array(
        [[seen(focus + (z - 6) * 0.15, r * 0.01) for r in (0, 7, 15, 29)] for z in range(13)]
    )
    assert found[:, [0, 7, 15, 29]] / found[6, 0] == pytest.approx(
        expected / expected[6, 0], abs=2e-3
    )


@settings(max_examples=12, deadline=None)
@given(
    aperture=st.floats(0.2, 1.25),
    wavelength=st.floats(400, 700),
    lateral=st.floats(0.05, 0.5),
    axial=st.floats(0.1, 2),
    kind=st.sampled_from(["widefield", "confocal", "light_sheet"]),
)
def test_it_is_symmetric_brightest_in_the_middle_and_sums_to_one(
    aperture, wavelength, lateral, axial, kind
):
    microscope = Microscope(
        aperture, wavelength, kind=kind, immersion_index=1.33, cover_slip_index=1.33, sheet_um=2
    )
    psf = make_psf(microscope, (axial, lateral, lateral), (9, 15, 13))
    assert psf.dtype == np.float32
    assert psf.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert psf.min() >= 0
    assert np.unravel_index(psf.argmax(), psf.shape) == (4, 7, 6)
    for axis in range(3):
        assert np.allclose(psf, np.flip(psf, axis), rtol=1e-3, atol=1e-6 * psf.max())


def test_a_mismatch_of_indices_makes_the_focus_longer_and_lopsided():
    spacing = (0.1, 0.07, 0.07)
    oil = Microscope(1.4, 520)
    deep = Microscope(1.4, 520, sample_index=1.33, depth_um=10)
    as_designed = make_psf(oil, spacing, (81, 31, 31))
    aberrated = make_psf(deep, spacing, (81, 31, 31))
    assert (
        describe_psf(aberrated, spacing).fwhm_um[0]
        > 1.5 * (describe_psf(as_designed, spacing).fwhm_um[0])
    )
    half = aberrated[:40].sum(), aberrated[41:].sum()
    assert max(half) > 1.2 * min(half)
    assert aberrated.argmax() == as_designed.argmax()


def test_a_confocal_microscope_sees_a_smaller_point_and_a_pinhole_matters():
    spacing = (0.1, 0.05, 0.05)
    widths = [
        describe_psf(make_psf(microscope, spacing, (41, 33, 33)), spacing).fwhm_um
        for microscope in (
            Microscope(1.3, 520, kind="confocal", excitation_nm=488, pinhole_airy=0),
            Microscope(1.3, 520, kind="confocal", excitation_nm=488, pinhole_airy=1),
            Microscope(1.3, 520, kind="confocal", excitation_nm=488, pinhole_airy=20),
            Microscope(1.3, 520),
        )
    ]
    for axis in range(3):
        closed, one, open_, wide = (each[axis] for each in widths)
        assert closed < one < open_ < wide
    # A wide pinhole lets everything through: what is seen is where light was.
    excitation = describe_psf(make_psf(Microscope(1.3, 488), spacing, (41, 33, 33)), spacing)
    assert widths[2][1] == pytest.approx(excitation.fwhm_um[1], rel=0.05)


def test_a_light_sheet_cuts_planes_off():
    spacing = (0.25, 0.2, 0.2)
    sheet = Microscope(0.8, 520, kind="light_sheet", immersion_index=1.33, sheet_um=1.0)
    wide = Microscope(0.8, 520, immersion_index=1.33)
    thin, thick = (make_psf(each, spacing, (33, 15, 15)) for each in (sheet, wide))
    assert describe_psf(thin, spacing).fwhm_um[0] < 1.0 < describe_psf(thick, spacing).fwhm_um[0]
    assert np.allclose(thin[16] / thin[16].max(), thick[16] / thick[16].max(), atol=1e-4)


def test_without_a_shape_faint_faces_are_cut_off():
    spacing = (0.3, 0.15, 0.15)
    psf = make_psf(Microscope(1.0, 520, immersion_index=1.33), spacing)
    assert all(side % 2 for side in psf.shape)
    assert max(psf.shape) <= 129
    assert describe_psf(psf, spacing).at_rim < 3e-3
    assert psf.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_an_image_of_one_plane_has_the_plane_in_focus():
    microscope = Microscope(0.9, 600, immersion_index=1.0)
    plane = make_psf(microscope, (0.1, 0.1), (21, 21))
    volume = make_psf(microscope, (0.2, 0.1, 0.1), (5, 21, 21))
    assert np.allclose(plane, volume[2] / volume[2].sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"numerical_aperture": 1.5, "immersion_index": 1.33},
            "aperture: expected below",
        ),
        ({"emission_nm": 0}, "emission_nm: expected above 0"),
        ({"kind": "two_photon"}, "kind: expected one of"),
        ({"kind": "light_sheet"}, "sheet_um: expected above 0"),
        ({"sample_index": 0.5}, "sample_index: expected 1 or more"),
        ({"depth_um": -1}, "depth_um: expected 0 or more"),
        ({"depth_um": math.nan}, "depth_um: expected 0 or more"),
    ],
)
def test_what_no_microscope_is_is_refused(given, line):
    with pytest.raises(BadInput, match=line):
        Microscope(**{"numerical_aperture": 0.8, "emission_nm": 520, **given})


def test_shapes_and_spacings_that_do_not_fit_are_refused():
    microscope = Microscope(0.8, 520)
    with pytest.raises(BadInput, match="3 odd numbers"):
        make_psf(microscope, (0.2, 0.1, 0.1), (4, 5, 5))
    with pytest.raises(BadInput, match="3 odd numbers"):
        make_psf(microscope, (0.2, 0.1, 0.1), (5, 5))
    with pytest.raises(BadInput, match="sizes in µm above 0"):
        make_psf(microscope, (0.2, 0.1, 0))
    with pytest.raises(BadInput, match="PSF: expected finite values"):
        describe_psf(np.zeros((3, 3)), (1, 1))
