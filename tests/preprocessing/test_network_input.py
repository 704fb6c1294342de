"""The network's input, computed on the fly, is what the stage writes."""

from dataclasses import replace

import numpy as np
import pytest

from cellmill.arrays.channels import BLANK
from cellmill.errors import BadInput
from cellmill.models.card import Preprocessing, known_cards
from cellmill.preprocessing import network_input, preprocess, resize_image

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


@pytest.mark.parametrize("mpp", [None, (0.5, 0.5), (0.25, 0.4), (0.7, 0.6)])
@pytest.mark.parametrize("channels", [[0, 1], [1, BLANK]])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_channels_scale_and_normalisation(mpp, channels, dtype):
    image = np.random.default_rng(0).gamma(0.5, 300, (150, 211, 2)).astype(dtype)
    chosen = np.pad(image, ((0, 0), (0, 0), (0, 1)))[..., channels]
    shape = tuple(int(n * m / 0.5) for n, m in zip(image.shape, mpp or (0.5, 0.5), strict=False))
    whole = preprocess(resize_image(chosen, shape), MESMER.preprocessing)
    view = network_input(image, MESMER, channels=channels, mpp=mpp)
    assert np.array_equal(np.asarray(view), whole)
    found = view.normalisation
    again = network_input(image, MESMER, channels=channels, mpp=mpp, normalisation=found)
    assert np.array_equal(again[10:50, 60:], whole[10:50, 60:])


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.25, 0.25)])
def test_with_its_normalisation_a_window_is_all_that_is_read(mpp):
    array = np.random.default_rng(0).random((3000, 2900, 2), np.float32)
    found = network_input(array, MESMER, channels=[0, 1], mpp=mpp).normalisation
    image = Counted(array)
    view = network_input(image, MESMER, channels=[0, 1], mpp=mpp, normalisation=found)
    assert image.pixels == 0
    view[:100, :100]
    assert image.pixels < (2600 if mpp[0] < 0.5 else 1400) ** 2


def test_what_is_not_for_the_card_is_refused():
    image = np.random.default_rng(0).random((40, 50, 2))
    found = network_input(image, MESMER, channels=[0, 1], mpp=None).normalisation
    other = replace(MESMER, preprocessing=Preprocessing("none"))
    with pytest.raises(BadInput, match="normalisation of image: expected"):
        network_input(image, other, channels=[0, 1], mpp=None, normalisation=found)
    with pytest.raises(BadInput, match="shape"):
        network_input(image, MESMER, channels=[0, 1], mpp=(1, 1), normalisation=found)
    with pytest.raises(BadInput, match="at most 16 times"):
        network_input(image, MESMER, channels=[0, 1], mpp=(25.4, 25.4))
    with pytest.raises(BadInput, match="channels of image"):
        network_input(image, MESMER, channels=[0, 2], mpp=None)
