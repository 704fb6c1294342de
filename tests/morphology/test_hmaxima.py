"""h-maxima are scikit-image's, bit for bit, however the image is cut into windows."""

import numpy as np
import pytest
import skimage.morphology
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.errors import BadInput
from cellmill.morphology import hmaxima
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint
from tests.segmentation.maps import made_maps, permutation, quantised, smooth_noise

MAPS = list(made_maps())


def scikit_image(image, h, footprint):
    return skimage.morphology.h_maxima(image, h, footprint).astype(bool)


@pytest.mark.parametrize("number", range(len(MAPS)), ids=[name for name, *_ in MAPS])
def test_made_maps(number, monkeypatch):
    _, maxima, interior = MAPS[number]
    rng = np.random.default_rng(number)
    for image in (maxima, interior):
        for radius in (0, 1, 2, 3, 10) if image.ndim == 2 else (1, 2):
            footprint = ball_footprint(radius, image.ndim)
            h = float(rng.choice([0.01, 0.075, 0.3, 1.0]))
            expected = scikit_image(image, h, footprint)
            for tile, halo in ((512, 32), (16, 0), (37, 9), (7, 2)):
                monkeypatch.setattr(hmaxima, "_TILE", {2: tile, 3: tile})
                monkeypatch.setattr(hmaxima, "_HALO", {2: halo, 3: halo})
                assert np.array_equal(h_maxima(image, h, footprint), expected)


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
        elements=st.integers(-4, 8).map(lambda n: n / 8),
    ),
    st.integers(0, 9).map(lambda n: (n + 0.5) / 8),
    st.integers(0, 10**6),
)
def test_any_footprint_even_one_sided(image, h, seed):
    rng = np.random.default_rng(seed)
    footprint = rng.random(rng.choice([1, 3, 5], image.ndim)) < rng.random()
    assert np.array_equal(h_maxima(image, h, footprint), scikit_image(image, h, footprint))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from([0, 2, 20, 1000]),
    st.sampled_from([0, 1, 3]),
    st.floats(0.01, 1.1),
    st.integers(1, 4),
)
def test_noise_plateaus_and_permutations(seed, shape, levels, sigma, h, radius):
    image = smooth_noise(seed, shape, sigma) if levels else permutation(seed, shape)
    image = quantised(image, levels) if levels else image
    image[0, 0] = -1
    footprint = ball_footprint(radius, 2)
    assert np.array_equal(h_maxima(image, h, footprint), scikit_image(image, h, footprint))


@pytest.mark.parametrize("footprint", [np.ones((2, 3)), np.ones(3), np.ones((3, 3, 3))])
def test_a_footprint_that_does_not_fit_is_refused(footprint):
    with pytest.raises(BadInput, match="footprint: expected 2 odd sides, found shape"):
        h_maxima(np.zeros((5, 5), np.float32), 0.1, footprint)
