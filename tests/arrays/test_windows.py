"""Views of channels show what the array itself shows there, whatever window is read."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.windows import Channels, Plane

ARRAYS = st.sampled_from(
    [
        np.arange(5 * 6 * 4, dtype=np.float32).reshape(5, 6, 4),
        np.arange(3 * 5 * 6 * 4, dtype=np.uint16).reshape(3, 5, 6, 4),
    ]
)


def spans(side):
    edges = st.tuples(st.integers(0, side), st.integers(0, side)).map(sorted)
    return edges.map(lambda edge: slice(*edge)) | st.just(slice(None)) | st.integers(0, side - 1)


@given(ARRAYS, st.integers(0, 3), st.data())
def test_a_plane_is_one_channel(array, channel, data):
    plane, shown = Plane(array, channel), array[..., channel]
    assert (plane.shape, plane.dtype) == (shown.shape, shown.dtype)
    window = tuple(data.draw(spans(side)) for side in shown.shape)
    for read in (window, window[:1], window[0], (slice(None),)):
        np.testing.assert_array_equal(plane[read], shown[read])


@given(ARRAYS, st.integers(0, 3), st.integers(1, 4), st.data())
def test_channels_are_some_of_them(array, start, count, data):
    stop = min(start + count, 4)
    view, shown = Channels(array, start, stop), array[..., start:stop]
    assert (view.shape, view.dtype) == (shown.shape, shown.dtype)
    window = tuple(data.draw(spans(side)) for side in shown.shape)
    for read in (window, window[:-1], window[:1], window[0], (slice(None),)):
        np.testing.assert_array_equal(view[read], shown[read])
