"""The network's input, computed on the fly, is what the stage writes."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from cellmill.arrays.channels import BLANK, SelectedChannels
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing, known_cards
from cellmill.preprocessing import network_input, prepare_image, preprocess, resize_image

MESMER = known_cards()["Mesmer"]


class Counted:
    """An image that counts the pixels read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.pixels = 0

    def __getitem__(self, window):
        part = self.array[window]
        self.pixels += part.shape[0] * part.shape[1]
        return part


@pytest.mark.parametrize("shape", [(150, 211), (75, 168), (210, 253)])
@pytest.mark.parametrize("channels", [[0, 1], [1, BLANK]])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_channels_scale_and_normalisation(shape, channels, dtype):
    image = np.random.default_rng(0).gamma(0.5, 300, (150, 211, 2)).astype(dtype)
    chosen = np.pad(image, ((0, 0), (0, 0), (0, 1)))[..., channels]
    whole = preprocess(resize_image(chosen, shape), MESMER.preprocessing)
    view = network_input(image, MESMER, channels=channels, shape=shape)
    assert np.array_equal(np.asarray(view), whole)
    found = view.normalisation
    again = network_input(image, MESMER, channels=channels, shape=shape, normalisation=found)
    assert np.array_equal(again[10:50, 60:], whole[10:50, 60:])


@pytest.mark.parametrize("shape", [(250, 311), (125, 248)])
@pytest.mark.parametrize("resampling", ["deepcell", "averaged"])
def test_what_memory_there_is_changes_no_value(shape, resampling):
    card = replace(MESMER, input=replace(MESMER.input, resampling=resampling))
    image = np.random.default_rng(0).gamma(0.5, 300, (250, 311, 2)).astype(np.uint16)
    selected, steps = SelectedChannels(image, [1, 0]), []

    def step(name):
        steps.append(name)
        return contextlib.nullcontext()

    large = prepare_image(selected, card, shape=shape, memory=1 << 30, step=step)
    small = prepare_image(selected, card, shape=shape, memory=1 << 10, step=step)
    assert (large.in_memory, small.in_memory) == (True, False)
    assert steps == ["resize", "normalise", "find normalisation"]
    box = Box(20, 120, 30, 90)
    assert np.array_equal(large.read(box), small.read(box))
    assert np.array_equal(np.asarray(large.pixels), np.asarray(small.pixels))


@pytest.mark.parametrize("shape", [(3000, 2900), (1500, 1450)])
def test_with_its_normalisation_a_window_is_all_that_is_read(shape):
    array = np.random.default_rng(0).random((3000, 2900, 2), np.float32)
    found = network_input(array, MESMER, channels=[0, 1], shape=shape).normalisation
    image = Counted(array)
    view = network_input(image, MESMER, channels=[0, 1], shape=shape, normalisation=found)
    assert image.pixels == 0
    view[:100, :100]
    assert image.pixels < (2600 if shape[0] < 3000 else 1400) ** 2


def test_what_is_not_for_the_card_is_refused():
    image = np.random.default_rng(0).random((40, 50, 2))
    found = network_input(image, MESMER, channels=[0, 1], shape=(40, 50)).normalisation
    other = replace(MESMER, preprocessing=Preprocessing("none"))
    with pytest.raises(BadInput, match="normalisation of image: expected"):
        network_input(image, other, channels=[0, 1], shape=(40, 50), normalisation=found)
    with pytest.raises(BadInput, match="shape"):
        network_input(image, MESMER, channels=[0, 1], shape=(80, 100), normalisation=found)
    with pytest.raises(BadInput, match="channels of image"):
        network_input(image, MESMER, channels=[0, 2], shape=(40, 50))
