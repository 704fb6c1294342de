"""Smoothing is scipy's, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cellmill.morphology.smoothing import smooth


@settings(deadline=None, max_examples=200)
@given(
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=40),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([0, 1e-16, 0.05, 0.3, 0.5, 1, 2, 3.3, 10]),
    st.integers(0, 10**6),
)
def test_every_bit_is_scipy_s(shape, dtype, sigma, seed):
    image = (np.random.default_rng(seed).normal(0, 100, shape)).astype(dtype)
    blurred = smooth(image, sigma)
    assert blurred.dtype == dtype
    assert np.array_equal(blurred, ndimage.gaussian_filter(image, sigma))


def test_strided_views_are_taken_and_left_alone():
    image = np.random.default_rng(0).random((300, 200, 3)).astype(np.float32)
    before = image.copy()
    view = image[::2, ::-1, 1]
    assert np.array_equal(smooth(view, 2), ndimage.gaussian_filter(view, 2))
    assert np.array_equal(image, before)
