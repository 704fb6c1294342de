"""Percentile clipping and rescaling, channel by channel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellmill.errors import BadInput
from cellmill.preprocessing.percentile import clip_above_percentile, rescale_between_percentiles

IMAGES = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(*[st.integers(1, 12)] * 2, st.integers(1, 3)))
)


@given(IMAGES, st.floats(0, 100))
@settings(max_examples=100, deadline=None)
def test_limit_is_the_percentile_of_the_non_zero_pixels(image, percentile):
    before = image.copy()
    clipped = clip_above_percentile(image, percentile)
    assert clipped.dtype == image.dtype
    assert np.array_equal(image, before)
    for c in range(image.shape[2]):
        values = image[..., c][image[..., c] != 0]
        if values.size:
            limit = int(np.percentile(values.astype(np.float64), percentile))
            assert np.array_equal(clipped[..., c], np.minimum(image[..., c], limit))
        else:
            assert not clipped[..., c].any()


def test_float_percentile_is_interpolated_in_double_precision():
    image = np.random.default_rng(3).gamma(2, 30, (41, 53, 1)).astype(np.float32)
    limit = np.float32(np.percentile(image.astype(np.float64), 99.9))
    assert clip_above_percentile(image, 99.9).max() == limit


def test_zeros_do_not_lower_the_limit():
    image = np.zeros((100, 100, 1), np.uint16)
    image[0, :10, 0] = 1000
    assert clip_above_percentile(image, 50).max() == 1000


def test_rescaling_puts_the_percentiles_at_0_and_1():
    image = np.random.default_rng(0).gamma(2, 400, (200, 201, 2)).astype(np.uint16)
    rescaled = rescale_between_percentiles(image, 2, 98)
    assert rescaled.dtype == np.float32
    assert np.allclose(np.percentile(rescaled, 2, axis=(0, 1)), 0, atol=1e-6)
    assert np.allclose(np.percentile(rescaled, 98, axis=(0, 1)), 1, atol=1e-6)
    assert rescaled.max() > 1
    clipped = rescale_between_percentiles(image, 2, 98, clip=True)
    assert (clipped.min(), clipped.max()) == (0, 1)


@given(IMAGES, st.floats(0.1, 50), st.floats(0, 100))
@settings(max_examples=60, deadline=None)
def test_rescaling_ignores_gain_and_offset(image, gain, offset):
    first = rescale_between_percentiles(image, clip=True)
    second = rescale_between_percentiles(image.astype(np.float64) * gain + offset, clip=True)
    assert np.allclose(first, second, atol=1e-4)


def test_constant_channels_become_zeros_and_rare_signal_is_kept():
    image = np.full((100, 100, 2), 7, np.uint16)
    image[5, 5, 1] = 500
    rescaled = rescale_between_percentiles(image)
    assert not rescaled[..., 0].any()
    assert rescaled[5, 5, 1] == 1
    assert np.count_nonzero(rescaled) == 1


@pytest.mark.parametrize(("low", "high"), [(50, 50), (-1, 99), (1, 101), (90, 10)])
def test_impossible_percentiles_are_refused(low, high):
    with pytest.raises(BadInput, match="0 ≤ low < high ≤ 100"):
        rescale_between_percentiles(np.zeros((2, 2, 1)), low, high)
    with pytest.raises(BadInput, match="percentile: expected 0 to 100"):
        clip_above_percentile(np.zeros((2, 2, 1)), 100.5)
