"""Richardson-Lucy: held against scikit-image, and what must be so of any deconvolution."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.restoration import richardson_lucy

from cellmill.datasets.phantoms import beads
from cellmill.errors import BadInput
from cellmill.restoration import (
    Camera,
    Microscope,
    blur,
    deconvolve,
    describe_psf,
    expose,
    make_psf,
    psf_of_beads,
    regularised_inverse,
)
from cellmill.restoration.deconvolution import bytes_for
from cellmill.restoration.richardson_lucy import EDGES

MICROSCOPE = Microscope(1.0, 520, immersion_index=1.33)
SPACING = (0.3, 0.15, 0.15)
PSF = make_psf(MICROSCOPE, SPACING, (9, 11, 11))


def field(shape=(14, 40, 43), seed=0):
    random = np.random.default_rng(seed)
    image = random.poisson(40, shape).astype(np.float32)
    image[4:9, 10:20, 20:30] += 300
    return image


@pytest.mark.parametrize("iterations", [1, 10, 50])
@pytest.mark.parametrize("planes", [0, 14])
def test_same_is_what_scikit_image_computes(iterations, planes):
    image, psf = (field(), PSF) if planes else (field()[6], PSF[4] / PSF[4].sum())
    found = deconvolve(image, psf, iterations=iterations, edges="same", start=0.5).image
    expected = richardson_lucy(image, psf, num_iter=iterations, clip=False)
    assert np.abs(found - expected).max() <= 5e-6 * expected.max()


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("variation", [0.0, 1e-3])
@pytest.mark.parametrize("accelerate", [False, True])
def test_a_point_for_a_point_spread_function_changes_nothing(edges, variation, accelerate):
    image = field()
    found = deconvolve(
        image,
        np.ones((1, 1, 1)),
        edges=edges,
        iterations=3,
        accelerate=accelerate,
        total_variation=variation,
        start=image if variation else None,
    ).image
    tolerance = 0.2 if variation else 1e-5
    assert np.abs(found - image).max() <= tolerance * image.max()


@pytest.mark.parametrize("edges", EDGES)
def test_the_likelihood_never_falls(edges):
    curve = deconvolve(field(), PSF, iterations=40, edges=edges).curve
    divergences = [each.divergence for each in curve]
    if edges != "same":  # whose α is wrong at the rim
        assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(divergences))
    assert divergences[-1] < divergences[0] / 1.5


def test_light_is_kept():
    image = field()
    circulant = deconvolve(image, PSF, iterations=20, edges="circulant").image
    assert circulant.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64), rel=1e-6)
    # What the object beyond the edge gives to the window is counted by its α, up to the cut-off.
    valid = deconvolve(image, PSF, iterations=20)
    assert valid.image.sum(dtype=np.float64) < image.sum(dtype=np.float64)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.01, 1000), edges=st.sampled_from(EDGES))
def test_the_unit_does_not_matter(scale, edges):
    image = field((6, 20, 21))
    psf = PSF[2:7, 3:8, 3:8]
    once = deconvolve(image, psf, iterations=8, edges=edges, total_variation=1e-3).image
    scaled = deconvolve(image * scale, psf, iterations=8, edges=edges, total_variation=1e-3).image
    assert np.allclose(scaled, once * scale, rtol=1e-3, atol=1e-4 * scale * once.max())


@pytest.mark.parametrize("edges", EDGES)
def test_threads_change_no_bit(edges):
    runs = [
        deconvolve(field(), PSF, iterations=5, edges=edges, threads=threads, total_variation=1e-3)
        for threads in (1, 2, 3)
    ]
    for run in runs[1:]:
        assert np.array_equal(run.image, runs[0].image)
        assert run.curve == runs[0].curve


def test_a_cut_out_field_is_what_it_is_within_the_whole():
    """Edges that know of light from beyond are right where others are wrong."""
    whole = expose(blur(field((20, 80, 80), 3) ** 2, PSF), Camera(photons=2000))
    full = deconvolve(whole, PSF, iterations=20).image[:, 20:60, 20:60]
    part = whole[:, 20:60, 20:60]
    found = {edges: deconvolve(part, PSF, iterations=20, edges=edges).image for edges in EDGES}
    errors = {edges: np.sqrt(np.mean((each - full) ** 2)) for edges, each in found.items()}
    assert errors["valid"] < errors["circulant"] < errors["same"]


def test_saturated_voxels_do_not_count():
    truth = np.zeros((30, 31), np.float32)
    truth[10:20, 10:20] = 100
    psf = PSF[4] / PSF[4].sum()
    seen = blur(truth, psf)
    cut = seen.copy()
    cut[14:16, 14:16] = 60
    kept = deconvolve(cut, psf, iterations=60, saturation=None).image
    masked = np.where(cut == 60, 1000, cut).astype(np.float32)
    found = deconvolve(masked, psf, iterations=60, saturation=1000).image
    assert np.abs(found - truth)[12:18, 12:18].max() < np.abs(kept - truth)[12:18, 12:18].max() / 2


def test_the_background_belongs_into_the_model():
    truth = np.zeros((24, 64, 64), np.float32)
    truth[8:16, 20:30, 20:30] = 1
    camera = Camera(photons=30, background_photons=20)
    seen = expose(blur(truth, PSF), camera, seed=5)
    truth *= 30 / blur(truth, PSF).max()
    within = deconvolve(seen, PSF, iterations=60, background=20).image
    before = deconvolve(np.maximum(seen - 20, 0), PSF, iterations=60).image
    assert np.mean((within - truth) ** 2) < np.mean((before - truth) ** 2)


def test_total_variation_keeps_noise_small():
    truth = np.zeros((24, 64, 64), np.float32)
    truth[8:16, 20:40, 20:40] = 1
    seen = expose(blur(truth, PSF), Camera(photons=30, background_photons=5), seed=1)
    truth *= 30 / blur(truth, PSF).max()
    common = {"iterations": 100, "background": 5, "spacing": SPACING}
    found = [deconvolve(seen, PSF, total_variation=v, **common).image for v in (0, 2e-3, 2e-2)]
    errors = [np.mean((each - truth) ** 2) for each in found]
    assert errors[2] < errors[1] < errors[0]


def test_acceleration_takes_a_third_of_the_iterations():
    image = field()
    plain = deconvolve(image, PSF, iterations=60).curve
    fast = deconvolve(image, PSF, iterations=20, accelerate=True).curve
    assert fast[-1].divergence <= plain[-1].divergence


def test_the_inverse_filter_sharpens_what_has_no_noise():
    truth = np.zeros((40, 41), np.float32)
    truth[10:20, 10:30] = 100
    psf = PSF[4] / PSF[4].sum()
    seen = blur(truth, psf)
    found = regularised_inverse(seen, psf, penalty=1e-4)
    assert np.mean((found - truth) ** 2) < np.mean((seen - truth) ** 2) / 4
    assert np.allclose(regularised_inverse(np.full((20, 20), 7.0), psf, penalty=1e-6), 7, atol=1e-2)


def test_a_function_measured_on_beads_is_that_of_the_microscope():
    objects, places = beads((40, 160, 160), SPACING, count=20, seed=2)
    seen = expose(blur(objects, PSF), Camera(photons=3000, background_photons=10), seed=4)
    found = psf_of_beads(seen, (9, 11, 11))
    assert 4 <= sum(bead.used for bead in found.beads) <= len(places)
    assert all(bead.used or bead.why_not for bead in found.beads)
    true, measured = (describe_psf(each, SPACING).fwhm_um for each in (PSF, found.psf))
    assert measured == pytest.approx(true, rel=0.12)
    assert found.psf.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    with pytest.raises(BadInput, match="beads: expected some"):
        psf_of_beads(np.zeros((20, 40, 40), np.uint16), (9, 11, 11))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image": field() - 100}, "image: expected voxels with values from 0"),
        ({"image": np.full((3, 20, 20), np.nan)}, "NaN"),
        ({"image": np.zeros((2, 2, 2, 2))}, "image: expected"),
        ({"psf": PSF[0]}, "PSF: expected numbers with 3 axes"),
        ({"psf": -PSF}, "PSF: expected finite values"),
        ({"psf": PSF * 0}, "PSF: expected finite values"),
        ({"edges": "mirror"}, "edges: expected one of"),
        ({"iterations": -1}, "iterations: expected"),
        ({"total_variation": 0.4}, "total_variation: expected below"),
        ({"total_variation": -1}, "total_variation: expected 0"),
        ({"background": float("nan")}, "background: expected 0"),
        ({"spacing": (1, 1)}, "spacing: expected 3 sizes"),
        ({"saturation": 0}, "saturation: expected some voxels"),
        ({"start": np.ones((2, 2))}, "start: expected shape"),
        ({"edges": "circulant", "image": field((3, 20, 20))}, "PSF: expected at most"),
    ],
)
def test_bad_input_is_one_line(change, line):
    given = {"image": field(), "psf": PSF, "iterations": 2, **change}
    with pytest.raises(BadInput, match=line):
        deconvolve(given.pop("image"), given.pop("psf"), **given)


@pytest.mark.parametrize(
    "change", [{"photons": -1}, {"gain": 0}, {"bits": 4}, {"read_noise": float("inf")}]
)
def test_what_no_camera_is_is_refused(change):
    with pytest.raises(BadInput):
        Camera(**change)


def test_a_camera_counts_photons():
    light = np.full((200, 200), 3.0)
    seen = expose(
        light, Camera(photons=100, background_photons=20, read_noise=3, offset=50, bits=12)
    )
    assert seen.dtype == np.uint16
    assert seen.mean() == pytest.approx(170, abs=0.5)
    assert seen.var() == pytest.approx(129, rel=0.05)
    assert expose(light, Camera(photons=1e6, bits=8)).max() == 255
    assert np.array_equal(expose(light, Camera()), light.astype(np.float32))


def test_memory_is_as_estimated():
    code = (
        "import numpy as np, sys\n"
        "from cellmill.compute.memory import peak_rss\n"
        "from cellmill.restoration import deconvolve\n"
        "from cellmill.restoration.deconvolution import bytes_for\n"
        "psf = np.ones((9, 15, 15), np.float32)\n"
        "small = np.ones((20, 40, 40), np.float32)\n"
        "all_of_it = {'total_variation': 1e-3, 'accelerate': True, 'consensus': True}\n"
        "deconvolve(small, psf, iterations=2, **all_of_it)\n"
        "image = np.ones((64, 256, 256), np.float32)\n"
        "before = peak_rss()\n"
        "fast = sys.argv[1] == '1'\n"
        "more = {'total_variation': 1e-3, 'accelerate': fast, 'consensus': fast}\n"
        "deconvolve(image, psf, iterations=3, **more)\n"
        "print(peak_rss() - before)\n"
    )
    for all_of_it in (False, True):
        said = subprocess.run(
            [sys.executable, "-c", code, str(int(all_of_it))],
            check=True,
            capture_output=True,
            text=True,
        )
        estimate = bytes_for((64, 256, 256), (9, 15, 15), accelerate=all_of_it, consensus=all_of_it)
        assert int(said.stdout) < estimate
