"""Choosing channels of an image, and calling them by names of their own."""

import doctest
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellmill.arrays import channels as module
from cellmill.arrays.batch import Entry
from cellmill.arrays.channels import (
    BLANK,
    SelectedChannels,
    distinct_names,
    selected_channels,
)
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


def test_channels_that_a_model_can_do_without_are_blank():
    one = Entry("a", attributes={"segmentation_channels": [2]})
    assert selected_channels(IMAGE, one, ("a", "b", "c"), fewest=1).channels == (2, BLANK, BLANK)
    assert selected_channels(IMAGE, Entry("a"), ("a", "b", "c"), fewest=1).channels == (0, 1, 2)
    for entry, wanted, fewest in ((one, 3, 2), (one, 3, 0), (Entry("a"), 2, 1)):
        with pytest.raises(BadInput, match=f"expected {wanted} for model"):
            selected_channels(IMAGE, entry, ("a", "b", "c")[:wanted], fewest=fewest)


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


#: Names that are likely to meet: a marker of several cycles, and what telling it apart may give.
NAMES = st.one_of(
    st.sampled_from(
        ["DAPI", "DAPI ", "DAPI 0", "DAPI 1", "DAPI [1]", "DAPI [[0]]", "", "channel_1"]
    ),
    st.sampled_from(["area_px", "label", "mean_DAPI", "é", "e\u0301", "0", "1"]),
    st.text(max_size=3),
)


@given(st.lists(NAMES, max_size=8))
@example(["DAPI", "DAPI", "DAPI 0", "DAPI 0"])
def test_names_are_distinct_and_mean_what_they_say(names):
    found = distinct_names(names)
    assert len({unicodedata.normalize("NFC", name) for name in found}) == len(names)
    assert all(found)
    called = [unicodedata.normalize("NFC", name.strip()) for name in names]
    for index, (name, shown) in enumerate(zip(called, found, strict=True)):
        if name and called.count(name) == 1 and name != "channel_1":
            assert shown == names[index].strip()
        # No channel bears the name of another.
        assert all(shown != other for i, other in enumerate(called) if i != index)
    assert distinct_names(found) == found


def test_the_examples_are_true():
    assert doctest.testmod(module).attempted
    assert doctest.testmod(module).failed == 0
