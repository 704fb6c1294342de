import dataclasses

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cellmill.datasets.samples import sample_image
from cellmill.models.card import ModelCard, Preprocessing
from cellmill.models.shipped import shipped_models
from cellmill.preprocessing import normalisation_of
from cellmill.training.card import PREPROCESSING

PLAIN = dataclasses.replace(PREPROCESSING, noise_floor=0.0, outlier_limit=0.0)


def channel(image: np.ndarray, parameters: Preprocessing = PREPROCESSING, memory: int = 1 << 28):
    (found,) = normalisation_of(image[..., np.newaxis], parameters, memory=memory).channels
    return found


def nucleus_in(field: np.ndarray, level: int) -> np.ndarray:
    """Add a disk of 541 px to a field."""
    y, x = np.ogrid[: field.shape[0], : field.shape[1]]
    disk = (y - field.shape[0] // 2) ** 2 + (x - field.shape[1] // 2) ** 2 <= 13.1**2
    return field + level * disk.astype(field.dtype)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return tifffile.imread(sample_image()[0])


def test_an_ordinary_image_keeps_the_cards_percentiles(sample):
    found, plain = channel(sample), channel(sample, PLAIN)
    assert (found.low, found.high) == (plain.low, plain.high) == (8, 206)
    assert not found.note


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("side", [512, 1024, 2048])
def test_noise_of_an_almost_empty_image_stays_noise(side, dtype):
    rng = np.random.default_rng(0)
    field = nucleus_in(rng.poisson(20, (side, side)), 100).astype(dtype)
    found = channel(field)
    assert (found.high - found.low) > 10 * np.sqrt(20)
    assert found.high < found.low + 120
    if side > 512:
        assert "may be noise" in found.note
        plain = channel(field, PLAIN)
        assert (plain.high - plain.low) < 6 * np.sqrt(20)


def test_a_few_saturated_pixels_do_not_darken_the_rest(sample):
    rng = np.random.default_rng(1)
    broken = sample.copy()
    chosen = rng.choice(broken.size, int(0.0027 * broken.size), replace=False)
    broken.flat[chosen] = 65535
    assert channel(broken, PLAIN).high == 65535
    found = channel(broken)
    assert found.high < 4.5 * channel(sample).high
    assert "far brighter" in found.note


def test_an_image_of_one_value_becomes_zeros():
    image = np.full((64, 64, 1), 7, np.uint16)
    found = normalisation_of(image, PREPROCESSING).channels[0]
    assert found.low == 7


def test_old_cards_have_neither_limit():
    assert Preprocessing("percentile").noise_floor == 0
    assert Preprocessing("percentile").outlier_limit == 0


def test_every_card_that_takes_percentiles_and_ships_has_both_limits():
    cards = [ModelCard.load(folder) for folder in shipped_models().values()]
    taken = [card.preprocessing for card in cards if card.preprocessing.method == "percentile"]
    assert taken
    assert all(each == PREPROCESSING for each in taken)


@given(st.floats(0.5, 100), st.integers(0, 1000), st.sampled_from([256, 1024]))
def test_contrast_follows_gain_and_offset_of_floats(gain, offset, memory):
    rng = np.random.default_rng(2)
    field = nucleus_in(rng.normal(100, 5, (96, 96)), 300)
    one, other = channel(field), channel(field * gain + offset, memory=memory << 10)
    assert other.low == pytest.approx(one.low * gain + offset)
    assert other.high == pytest.approx(one.high * gain + offset)


def test_the_notes_name_the_channel_where_there_are_several():
    rng = np.random.default_rng(3)
    empty = rng.poisson(50, (256, 256))
    full = rng.poisson(50, (256, 256))
    full[:, :64] += 500
    notes = normalisation_of(np.stack([full, empty], -1), PREPROCESSING).notes
    assert [note.split(":")[0] for note in notes] == ["channel 1"]
