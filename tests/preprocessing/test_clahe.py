"""CLAHE is scikit-image's, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.exposure import equalize_adapthist, rescale_intensity

from cellmill.models.card import Preprocessing
from cellmill.preprocessing import preprocess


def scikit_image(image, kernel_size):
    equalized = np.zeros(image.shape, np.float32)
    for c in range(image.shape[-1]):
        channel = image[..., c].astype(np.float32)
        if channel.min() != channel.max():
            channel = rescale_intensity(channel, out_range=(0.0, 1.0))
            equalized[..., c] = equalize_adapthist(channel, kernel_size=kernel_size or None)
    return equalized


def equalize_channels(image, kernel_size):
    return preprocess(image, Preprocessing("histogram", kernel_size=kernel_size))


def drawn(seed, shape, dtype):
    image = np.random.default_rng(seed).gamma(0.5, 300, shape)
    if np.issubdtype(dtype, np.integer):
        return np.minimum(image, np.iinfo(dtype).max).astype(dtype)
    return (image - 200).astype(dtype)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 2)),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
    st.sampled_from([0, 7, 32, 128]),
)
def test_every_bit_is_scikit_image_s(seed, shape, dtype, kernel_size):
    image = drawn(seed, shape, dtype)
    assert np.array_equal(equalize_channels(image, kernel_size), scikit_image(image, kernel_size))


@pytest.mark.parametrize("shape", [(300, 517, 2), (128, 128, 1), (129, 255, 1), (700, 20, 1)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_windows_at_the_borders(shape, dtype):
    image = drawn(1, shape, dtype)
    assert np.array_equal(equalize_channels(image, 128), scikit_image(image, 128))


def test_few_values_and_a_single_bright_pixel():
    image = np.zeros((200, 150, 1), np.uint16)
    image[50:90, 20:60] = 3
    image[10, 10] = 65535
    for kernel_size in (0, 64, 128):
        expected = scikit_image(image, kernel_size)
        assert np.array_equal(equalize_channels(image, kernel_size), expected)
