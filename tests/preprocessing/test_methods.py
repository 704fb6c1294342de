"""The normalisations that a card can name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.exposure import equalize_adapthist

from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing
from cellmill.preprocessing import METHODS, mesmer_preprocess, preprocess


def tissue(shape=(90, 131, 2), dtype=np.uint16):
    """Blobs of unlike brightness on noise, with an empty corner."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.gamma(2, 20, shape)
    for _ in range(25):
        cy, cx = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40)
        image += blob[..., None] * rng.uniform(50, 2000, shape[2])
    image[:20, :20] = 0
    return np.clip(image, 0, 255 if dtype == np.uint8 else 65535).astype(dtype)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 2), (33, 20, 1), (90, 131, 2)])
def test_every_method_gives_finite_float32_and_leaves_its_input(method, dtype, shape):
    image = tissue(shape, dtype)
    before = image.copy()
    result = preprocess(image, Preprocessing(method=method))
    assert (result.shape, result.dtype) == (shape, np.float32)
    assert np.isfinite(result).all()
    assert np.array_equal(image, before)


@pytest.mark.parametrize("method", ["mesmer", "histogram", "percentile"])
@pytest.mark.parametrize("value", [0, 1, 65535])
def test_a_constant_channel_becomes_zeros_beside_a_normal_one(method, value):
    image = tissue()
    image[..., 1] = value
    result = preprocess(image, Preprocessing(method=method))
    assert not result[..., 1].any()
    assert result[..., 0].max() > 0.9
    alone = preprocess(image[..., :1], Preprocessing(method=method))
    assert np.array_equal(result[..., :1], alone)


def test_mesmer_clips_rescales_and_equalises_each_channel():
    image = tissue()
    result = preprocess(image, Preprocessing(method="mesmer"))
    for c in range(2):
        channel = image[..., c]
        limit = np.uint16(np.percentile(channel[channel != 0], 99.9))
        channel = np.minimum(channel, limit).astype(np.float32)
        channel = (channel - channel.min()) / (channel.max() - channel.min())
        assert np.array_equal(result[..., c], equalize_adapthist(channel, kernel_size=128))


def test_histogram_window_follows_the_image_when_the_card_says_0():
    image = tissue((160, 240, 1))
    by_side = preprocess(image, Preprocessing(method="histogram", kernel_size=0))
    channel = image[..., 0].astype(np.float32)
    channel = (channel - channel.min()) / (channel.max() - channel.min())
    assert np.array_equal(by_side[..., 0], equalize_adapthist(channel, kernel_size=(20, 30)))
    fixed = preprocess(image, Preprocessing(method="histogram", kernel_size=128))
    assert not np.array_equal(by_side, fixed)


def test_mesmer_without_a_clip_is_histogram():
    image = tissue()
    mesmer = preprocess(image, Preprocessing(method="mesmer", clip_percentile=0))
    assert np.array_equal(mesmer, preprocess(image, Preprocessing(method="histogram")))


def test_percentile_maps_two_percentiles_to_0_and_1():
    image = np.random.default_rng(0).gamma(2, 400, (200, 201, 2)).astype(np.uint16)
    rescaled = preprocess(image, Preprocessing("percentile", low=2, high=98))
    for c in range(2):
        low, high = np.percentile(image[..., c], [2, 98])
        expected = (image[..., c] - low).astype(np.float32) / np.float32(high - low)
        assert np.array_equal(rescaled[..., c], expected)
    assert rescaled.min() < 0 < 1 < rescaled.max()


@given(st.integers(0, 10**6), st.floats(0.1, 50), st.floats(0, 100))
@settings(max_examples=40, deadline=None)
def test_percentile_ignores_gain_and_offset(seed, gain, offset):
    image = np.random.default_rng(seed).integers(0, 300, (9, 11, 2))
    parameters = Preprocessing("percentile")
    moved = preprocess(image * gain + offset, parameters)
    assert np.allclose(preprocess(image, parameters), moved, atol=1e-4)


def test_percentile_keeps_rare_signal():
    image = np.full((100, 100, 2), 7, np.uint16)
    image[5, 5, 1] = 500
    rescaled = preprocess(image, Preprocessing("percentile"))
    assert not rescaled[..., 0].any()
    assert rescaled[5, 5, 1] == 1
    assert np.count_nonzero(rescaled) == 1


def test_mesmer_preprocess_has_the_card_s_defaults():
    image = tissue()
    assert np.array_equal(mesmer_preprocess(image), preprocess(image, Preprocessing("mesmer")))
    parameters = Preprocessing("mesmer", clip_percentile=90, kernel_size=30)
    other = mesmer_preprocess(image, percentile=90, kernel_size=30)
    assert np.array_equal(other, preprocess(image, parameters))


def test_none_keeps_the_values():
    image = tissue()
    assert np.array_equal(preprocess(image, Preprocessing(method="none")), image)


@pytest.mark.parametrize("method", METHODS)
def test_not_finite_is_refused_with_its_count(method):
    image = tissue(dtype=np.float32)
    image[3, :4, 0] = np.nan
    image[5, :2, 1] = np.inf
    image[5, 2, 1] = -np.inf
    with pytest.raises(BadInput, match=r"image 'a': .*found 4 NaN and 3 infinite of 23580 values"):
        preprocess(image, Preprocessing(method=method), what="image 'a'")


@pytest.mark.parametrize("shape", [(5, 5), (0, 5, 1), (5, 5, 0), (1, 2, 3, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(BadInput, match="at least one pixel"):
        preprocess(np.zeros(shape, np.uint8), Preprocessing())


def test_an_unknown_method_is_refused():
    with pytest.raises(BadInput, match="one of mesmer, histogram, percentile, none, found 'magic'"):
        preprocess(tissue(), Preprocessing(method="magic"))  # type: ignore[arg-type]
