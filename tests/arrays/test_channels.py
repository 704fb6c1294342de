"""Choosing channels of an image."""

import numpy as np
import pytest

from cellmill.arrays.batch import Entry
from cellmill.arrays.channels import BLANK, SelectedChannels, selected_channels
from cellmill.errors import BadInput

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint16).reshape(5, 7, 3) + 1


@pytest.mark.parametrize("channels", [[0, 1, 2], [2, 0], [1], [0, BLANK], [BLANK, 2, 2]])
def test_windows_have_the_chosen_channels_and_zeros_for_blank_ones(channels):
    view = SelectedChannels(IMAGE, channels)
    padded = np.concatenate([IMAGE, np.zeros((5, 7, 1), np.uint16)], -1)
    expected = padded[..., channels]
    assert (view.shape, view.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(np.asarray(view), expected)
    assert np.array_equal(view[1:4, 2:], expected[1:4, 2:])
    assert np.array_equal(view[3], expected[3])
    assert np.array_equal(view[:, 4, 0], expected[:, 4, 0])


def test_an_entry_says_which_else_all():
    assert selected_channels(IMAGE, Entry("a")).channels == (0, 1, 2)
    entry = Entry("a", attributes={"segmentation_channels": [2, BLANK]})
    assert selected_channels(IMAGE, entry, ("nuclear", "membrane")).channels == (2, BLANK)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([0], "channels of image 'a': expected 2 for model 'm' .nuclear, membrane."),
        ([0, 1, 2], "found 3 .chosen.; the image has 3 without names"),
        ([0, 3], "indices from 0 to 2"),
        ([0, -2], "indices from 0 to 2"),
        ([BLANK, BLANK], "not all blank"),
    ],
)
def test_other_channels_are_refused(channels, message):
    entry = Entry("a", attributes={"segmentation_channels": channels})
    with pytest.raises(BadInput, match=message):
        selected_channels(IMAGE, entry, ("nuclear", "membrane"), "m")


def test_an_image_without_channels_is_refused():
    with pytest.raises(BadInput, match="image 'a': expected axes YXC"):
        selected_channels(IMAGE[..., 0], Entry("a"))
