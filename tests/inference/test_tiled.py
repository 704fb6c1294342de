"""Streamed tiled prediction against the same done at once, and its memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.inference.tiled import predict_tiled, read_tile
from cellmill.inference.tiles import TileGrid

SIDES = st.integers(1, 90)


def noise(shape):
    return np.random.default_rng(shape[0]).random(shape, dtype=np.float32)


def position_dependent(tiles):
    """Two heads whose values depend on where in the tile a pixel lies."""
    ramp = np.linspace(0.5, 1.5, tiles.shape[1] * tiles.shape[2], dtype=np.float32)
    tilted = tiles * ramp.reshape(1, *tiles.shape[1:3], 1)
    return [tilted[..., :1], np.concatenate([tilted, 1 - tilted, tiles], -1)]


def predict(image, grid, batch_size=3, dtype=np.float32):
    channels = (1, 3 * image.shape[2])
    outputs = [np.full((*grid.shape, count), np.nan, dtype) for count in channels]
    predict_tiled(image, position_dependent, grid, outputs, batch_size)
    return outputs


def all_at_once(image, grid):
    """The definition: extend, cut, predict all, add the weighted tiles up, crop."""
    size = (grid.rows.extended, grid.columns.extended)
    tiles = np.stack([read_tile(image, grid, *position) for position in grid.positions()])
    results = []
    for head in position_dependent(tiles):
        total = np.zeros((*size, head.shape[-1]))
        for (row, column), tile in zip(grid.positions(), head, strict=True):
            y, x = grid.rows.start(row), grid.columns.start(column)
            window = total[y : y + grid.rows.tile, x : x + grid.columns.tile]
            if grid.blended:
                weights = np.outer(grid.rows.weights(row), grid.columns.weights(column))
                window += tile * weights[..., None]
            else:
                window[...] = tile
        y, x = grid.rows.before, grid.columns.before
        results.append(total[y : y + grid.rows.size, x : x + grid.columns.size])
    return results


@given(
    SIDES,
    SIDES,
    st.sampled_from([(8, 8), (16, 24), (33, 20)]),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from(["constant", "reflect"]),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_the_stream_equals_all_at_once(y, x, tile, overlap, padding, batch_size):
    image = noise((y, x, 2))
    grid = TileGrid.over((y, x), tile, overlap=overlap, padding=padding)
    streamed = predict(image, grid, batch_size, np.float64)
    for ours, definition in zip(streamed, all_at_once(image, grid), strict=True):
        assert np.array_equal(ours, definition)


@pytest.mark.parametrize("shape", [(100, 130), (32, 90), (20, 90), (5, 3)])
def test_the_batch_size_changes_nothing(shape):
    image = noise((*shape, 1))
    grid = TileGrid.over(shape, (32, 32))
    one = predict(image, grid, 1)
    for batch_size in (2, 7, 1000):
        for a, b in zip(one, predict(image, grid, batch_size), strict=True):
            assert np.array_equal(a, b)


def test_a_network_that_does_nothing_gives_the_image_back():
    image = noise((150, 170, 2))
    grid = TileGrid.over((150, 170), (32, 32))
    output = np.empty_like(image)
    predict_tiled(image, lambda tiles: [tiles], grid, [output])
    # The weights of 8 shared pixels reach 1 + 1/127 along each axis.
    assert (output >= image - 1e-6).all()
    assert (output <= image * (1 + 1 / 127) ** 2 + 1e-6).all()
    plain = TileGrid.over((150, 170), (32, 32), overlap=0)
    predict_tiled(image, lambda tiles: [tiles], plain, [output])
    assert np.array_equal(output, image)


def test_batches_are_full_but_the_last():
    grid = TileGrid.over((100, 100), (32, 32))
    sizes, reported = [], []

    def network(tiles):
        sizes.append(len(tiles))
        return [tiles]

    predict_tiled(
        noise((100, 100, 1)), network, grid, [np.empty((100, 100, 1))], 5, reported.append
    )
    assert sizes == reported == [5, 5, 5, 1]


class Windows:
    """An image that exists only as the windows read from it."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape):
        self.shape = shape
        self.largest = 0

    def __getitem__(self, key):
        y, x = (range(*k.indices(n)) for k, n in zip(key, self.shape, strict=False))
        self.largest = max(self.largest, len(y) * len(x))
        return np.add.outer(np.array(y), np.array(x)).astype(np.float32)[..., None]


class Rows:
    """An output that keeps nothing but which rows were written, in order."""

    ndim = 3

    def __init__(self, shape):
        self.shape = shape
        self.next = 0

    def __setitem__(self, rows, values):
        assert rows.start == self.next
        assert values.shape == (rows.stop - rows.start, *self.shape[1:])
        self.next = rows.stop


@pytest.mark.parametrize("padding", ["constant", "reflect"])
def test_memory_does_not_grow_with_the_height(padding):
    peaks = []
    for height in (200, 3200):
        image, output = Windows((height, 150, 1)), Rows((height, 150, 1))
        grid = TileGrid.over((height, 150), (64, 64), padding=padding)
        tracemalloc.start()
        predict_tiled(image, lambda tiles: [tiles], grid, [output], 4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert output.next == height
        assert image.largest <= 64 * 64
    assert peaks[1] < peaks[0] * 1.1


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda tiles: [tiles, tiles], "model outputs: expected shapes"),
        (lambda tiles: [tiles[:, :-1]], "model outputs"),
        (lambda tiles: [np.repeat(tiles, 2, -1)], "model outputs"),
    ],
)
def test_other_outputs_than_asked_for_are_refused(network, message):
    grid = TileGrid.over((20, 20), (16, 16))
    with pytest.raises(BadInput, match=message):
        predict_tiled(noise((20, 20, 1)), network, grid, [np.empty((20, 20, 1))])


def test_impossible_calls_are_refused():
    grid = TileGrid.over((20, 20), (16, 16))
    with pytest.raises(BadInput, match="batch_size"):
        predict_tiled(noise((20, 20, 1)), lambda t: [t], grid, [np.empty((20, 20, 1))], 0)
    with pytest.raises(BadInput, match="output"):
        predict_tiled(noise((20, 20, 1)), lambda t: [t], grid, [np.empty((20, 21, 1))])
    with pytest.raises(BadInput, match="image"):
        predict_tiled(noise((21, 20, 1)), lambda t: [t], grid, [np.empty((20, 20, 1))])
