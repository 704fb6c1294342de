"""Crops show what their labels say, and a seed fixes them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.training.augmentation import (
    Augmentation,
    add_cytoplasm,
    random_crop,
    vary_objects,
    vary_picture,
)

RANGES = Augmentation()


def scene(shape=(90, 110)):
    """An image whose pixels are its labels."""
    labels = np.zeros(shape, np.int32)
    labels[10:40, 20:50] = 2
    labels[50:80, 60:100] = 5
    return labels.astype(np.float32)[..., None], labels


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_image_and_labels_move_together(seed):
    image, labels = scene()
    random = np.random.default_rng(seed)
    picture, (cut, hard) = random_crop(image, [labels, labels > 0], 64, random, RANGES)
    assert picture.shape == (64, 64, 1)
    assert picture.dtype == np.float32
    assert cut.dtype == np.int32
    assert set(np.unique(cut)) <= {0, 2, 5}
    np.testing.assert_array_equal(hard, cut > 0)
    # Away from edges, interpolation gives the label itself.
    inner = np.ones_like(cut, bool)
    for axis in (0, 1):
        for shift in range(-4, 5):
            inner &= np.roll(cut, shift, axis) == cut
    inner[:4] = inner[-4:] = inner[:, :4] = inner[:, -4:] = False
    # Corners of rotated boxes reach diagonally, so a few pixels may differ.
    assert (np.abs(picture[..., 0] - cut)[inner] < 0.02).mean() > 0.99


def test_large_ids_survive():
    labels = np.full((40, 40), 2**31 - 1, np.int32)
    image = np.ones((40, 40, 1), np.float32)
    _, (cut,) = random_crop(image, [labels], 32, np.random.default_rng(0), RANGES)
    assert (cut == 2**31 - 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (33, 17)])
def test_small_images_are_mirrored(shape):
    image = np.ones((*shape, 2), np.float32)
    picture, (cut,) = random_crop(
        image, [np.ones(shape, np.int32)], 48, np.random.default_rng(1), RANGES
    )
    assert picture.shape == (48, 48, 2)
    assert (cut == 1).all()
    np.testing.assert_allclose(picture, 1, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_each_object_is_dimmed_or_brightened_as_a_whole(seed):
    _, labels = scene()
    low, high = RANGES.object_gain
    varied = vary_objects(
        (labels > 0).astype(np.float32)[..., np.newaxis],
        labels,
        np.random.default_rng(seed),
        RANGES,
    )[..., 0]
    gains = []
    for label in (2, 5):
        y, x = np.nonzero(labels == label)
        # The middle of an object: the rim is blended with what is around it.
        core = varied[y.min() + 5 : y.max() - 4, x.min() + 5 : x.max() - 4]
        np.testing.assert_allclose(core, core.mean(), rtol=1e-4)
        gains.append(core.mean())
        assert low * 0.999 <= core.mean() <= high * 1.001
    assert gains[0] != gains[1]
    # Far from objects nothing changes.
    np.testing.assert_allclose(varied[-5:, :50], 0, atol=1e-5)


def test_an_object_that_is_dimmed_stays_brighter_than_what_is_around_it():
    _, labels = scene()
    picture = np.where(labels > 0, 1.0, 0.2).astype(np.float32)[..., np.newaxis]
    varied = vary_objects(picture, labels, np.random.default_rng(0), RANGES)[..., 0]
    for label in (2, 5):
        assert varied[labels == label].mean() > 0.2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_pictures_stay_finite_and_repeat_with_the_seed(seed, channels):
    picture = np.random.default_rng(0).random((48, 64, channels), np.float32) * 3 - 0.5
    before = picture.copy()
    first = vary_picture(picture, np.random.default_rng(seed), RANGES)
    again = vary_picture(picture, np.random.default_rng(seed), RANGES)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, before)
    assert first.dtype == np.float32
    assert first.shape == picture.shape
    assert np.isfinite(first).all()


def test_zoom_covers_its_range():
    image, labels = scene((400, 400))
    labels[:] = 0
    labels[180:220, 180:220] = 1
    random = np.random.default_rng(0)
    areas = [
        (random_crop(image, [labels], 192, random, RANGES)[1][0] > 0).sum() for _ in range(400)
    ]
    whole = [area for area in areas if area > 300]
    assert min(whole) < 1600 * 0.5
    assert max(whole) > 1600 * 2.5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
def test_cytoplasm_is_dimmer_than_its_nucleus_and_takes_no_light_away(seed, channels):
    _, labels = scene((200, 260))
    picture = np.repeat((labels > 0).astype(np.float32)[..., np.newaxis], channels, 2)
    before = picture.copy()
    varied = add_cytoplasm(picture, labels, np.random.default_rng(seed), RANGES)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(
        varied, add_cytoplasm(picture, labels, np.random.default_rng(seed), RANGES)
    )
    assert varied.dtype == np.float32
    added = varied - picture
    assert added.min() >= -1e-6
    for channel in range(channels):
        outside = added[..., channel][labels == 0]
        assert np.quantile(outside, 0.999) < varied[..., channel][labels > 0].max()
    # Beyond what any cell can reach, nothing changes.
    assert added[-10:, -10:].max() < 1e-6


def test_cytoplasm_lies_beside_nuclei_of_any_number():
    _, labels = scene((120, 140))
    labels[labels == 5] = 2**31 - 1
    picture = (labels > 0).astype(np.float32)[..., np.newaxis]
    seen = np.zeros(2)
    for seed in range(20):
        random = np.random.default_rng(seed)
        added = (add_cytoplasm(picture, labels, random, RANGES) - picture)[..., 0]
        seen += added[6:9, 25:45].max() > 0.01, added[82:85, 70:90].max() > 0.01
    assert (seen > 3).all()


def test_a_picture_without_nuclei_gets_no_cytoplasm():
    picture = np.random.default_rng(0).random((32, 32, 1), np.float32)
    empty = np.zeros((32, 32), np.int32)
    same = add_cytoplasm(picture, empty, np.random.default_rng(1), RANGES)
    np.testing.assert_array_equal(same, picture)
