"""Views of channels show what the array shows there; tiles cover images and volumes once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.indexing import indices_in, places_in
from cellmill.arrays.windows import Box, Channels, Grid, Plane, opposite

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


GRIDS = st.builds(
    Grid,
    st.lists(st.integers(1, 12), min_size=2, max_size=3).map(tuple),
    st.integers(1, 7),
    st.integers(0, 5),
)


@given(GRIDS)
def test_tiles_cover_an_image_or_a_volume_once(grid):
    owner = np.full(grid.shape, -1)
    for tile in range(len(grid)):
        box = grid.box(tile)
        assert (owner[box.slices] == -1).all()
        assert owner[box.slices].shape == box.shape
        owner[box.slices] = tile
    assert (owner >= 0).all()
    np.testing.assert_array_equal(grid.tiles_at(*np.indices(grid.shape)), owner)


@given(GRIDS, st.integers(0, 3), st.data())
def test_boxes_are_windows_of_one_another(grid, margin, data):
    box = grid.box(data.draw(st.integers(0, len(grid) - 1)))
    outer = box.grown(margin, grid.shape)
    every = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    np.testing.assert_array_equal(every[outer.slices][box.within(outer)], every[box.slices])
    assert outer.common(box) == box == Box.of(box.edges)
    assert box.holds(*np.indices(grid.shape)).sum() == np.prod(box.shape)
    owners = np.unique(grid.tiles_at(*np.indices(grid.shape))[outer.slices])
    assert grid.overlapping(outer) == owners.tolist()
    rim = np.zeros(box.shape, bool)
    for strip in box.rim(*(1,) * len(box.shape)):
        rim[strip.within(box)] = True
    inner = tuple(slice(1, -1) for _ in box.shape)
    assert rim.sum() == np.prod(box.shape) - rim[inner].size
    places = np.arange(np.prod(box.shape))
    np.testing.assert_array_equal(places_in(places, box, grid.shape), every[box.slices].ravel())


@given(GRIDS)
def test_faces_of_tiles_meet_those_of_their_neighbours(grid):
    for tile in range(len(grid)):
        box, neighbours = grid.box(tile), dict(grid.neighbours(tile))
        for side in box.sides:
            axis, at_end = divmod(side, 2)
            cut = box.edges[axis][at_end] not in (0, grid.shape[axis])
            assert (side in neighbours) == cut
            assert box.face(side).common(box) == box.face(side)
            assert box.face(side).shape[axis] == 1
            if cut:
                other = grid.box(neighbours[side])
                assert other.face(opposite(side)) == box.face(side, beyond=True)


@given(GRIDS, st.data())
def test_places_in_a_box_are_found_by_index(grid, data):
    box = grid.box(data.draw(st.integers(0, len(grid) - 1)))
    chosen = np.random.default_rng(data.draw(st.integers(0, 99))).random(grid.shape) < 0.3
    places = np.flatnonzero(chosen)
    inside = np.zeros(grid.shape, bool)
    inside[box.slices] = True
    expected = np.flatnonzero(inside.reshape(-1)[places])
    np.testing.assert_array_equal(indices_in(places, box, grid.shape), expected)


def test_an_only_channel_can_be_written():
    array = np.zeros((3, 4, 5, 1), np.int64)
    Plane(array, 0)[1:, 2, 3:] = 7
    assert array.sum() == 7 * 2 * 2
    assert (array[1:, 2, 3:, 0] == 7).all()
