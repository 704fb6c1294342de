"""What is shown is the image, reduced and stretched as said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.reporting import display


@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 7))
def test_reduction_averages_blocks_and_partial_blocks_at_the_end(height, width, factor):
    image = np.random.default_rng(height * 31 + width).integers(
        0, 65535, (height, width, 3), np.uint16
    )
    reduced = display.reduce_channels(image, [2, 0], factor)
    for row in range(reduced.shape[0]):
        for column in range(reduced.shape[1]):
            block = image[
                row * factor : (row + 1) * factor, column * factor : (column + 1) * factor
            ][..., [2, 0]]
            assert block.size
            expected = block.reshape(-1, 2).mean(axis=0)
            assert reduced[row, column] == pytest.approx(expected, rel=1e-5)


def test_reduction_by_strips_is_reduction_at_once(monkeypatch):
    image = np.random.default_rng(0).random((101, 37, 2), np.float32)
    whole = display.reduce_channels(image, [0, 1], 3)
    monkeypatch.setattr(display, "_STRIP_BYTES", 1)
    assert np.array_equal(display.reduce_channels(image, [0, 1], 3), whole)


@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 7))
def test_labels_are_sampled_on_the_images_grid(height, width, factor):
    labels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    reduced = display.reduce_labels(labels, factor)
    rows, columns = np.divmod(reduced, width)
    assert (rows // factor == np.arange(reduced.shape[0])[:, None]).all()
    assert (columns // factor == np.arange(reduced.shape[1])).all()


def test_stretching_does_not_depend_on_gain_and_offset():
    channel = np.random.default_rng(0).integers(0, 200, (64, 64)).astype(np.float32)
    assert np.array_equal(display.stretch(channel), display.stretch(channel * 8 + 1024))


def test_stretching_spans_the_range_and_a_rare_bright_speck_does_not_darken_the_rest():
    channel = np.random.default_rng(0).integers(0, 200, (64, 64)).astype(np.uint16)
    channel[0, 0] = 60000
    shown = display.stretch(channel)
    assert shown.min() == 0
    assert np.median(shown) == pytest.approx(127, abs=6)


def test_one_lit_pixel_in_a_dark_image_is_seen():
    channel = np.zeros((64, 64), np.uint8)
    channel[3, 4] = 9
    assert display.stretch(channel)[3, 4] == 255


@pytest.mark.parametrize(
    ("channels", "count", "shown"),
    [
        ([0], 1, (0,)),
        ([2, 0], 3, (2, 0)),
        ([-1, 1], 2, (1,)),
        ([1, -1], 2, (1,)),
        ([0, 0], 1, (0,)),
        ([-1], 2, (0,)),
        ([], 0, ()),
        ([0, 1, 2], 3, (0, 1)),
    ],
)
def test_channels_shown_are_those_segmented(channels, count, shown):
    assert display.shown_channels(channels, count) == shown


def test_either_channel_can_be_had_back_from_the_composite():
    first, second = np.random.default_rng(0).random((2, 32, 32))
    composite = display.compose(np.stack([first, second], axis=-1))
    assert np.array_equal(composite[..., 0], display.stretch(first))
    assert np.array_equal(composite[..., 1], display.stretch(second))
    assert np.array_equal(composite[..., 2], display.stretch(first))
