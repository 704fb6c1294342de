"""Streamed tiled prediction against the same done at once, and its memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.inference.tiled import predict_tiled, read_tile, strips, tiles_of
from cellmill.inference.tiles import TileGrid, spline_window

SIDES = st.integers(1, 90)


def noise(shape):
    return np.random.default_rng(shape[0]).random(shape, dtype=np.float32)


def position_dependent(tiles):
    """Two heads whose values depend on where in the tile a pixel lies."""
    ramp = np.linspace(0.5, 1.5, tiles.shape[1] * tiles.shape[2], dtype=np.float32)
    tilted = tiles * ramp.reshape(1, *tiles.shape[1:3], 1)
    return [tilted[..., :1], np.concatenate([tilted, 1 - tilted, tiles], -1)]


def predict(image, grid, batch_size=3, dtype=np.float32, **options):
    channels = (1, 3 * image.shape[2])
    outputs = [np.full((*grid.shape, count), np.nan, dtype) for count in channels]
    predict_tiled(image, position_dependent, grid, outputs, batch_size, **options)
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
                axes = (grid.rows.overlaps(row), grid.columns.overlaps(column))
                weights = np.outer(*(spline_window(*axis) for axis in axes))
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


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([(8, 8), (16, 24)]),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from(["constant", "reflect"]),
    st.integers(1, 9),
    st.sampled_from([1, 16, 30]),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_a_window_is_that_of_the_whole(y, x, tile, overlap, padding, batch_size, unit, data):
    image = noise((y, x, 1))
    grid = TileGrid.over((y, x), tile, overlap=overlap, padding=padding)
    whole = predict(image, grid, 5)
    cuts = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in (y, x)]
    window = Box(*cuts[0], *cuts[1])
    memory = data.draw(st.sampled_from([0, 1 << 30]))
    options = {"window": window, "unit": unit, "memory": memory}
    for part, all_of_it in zip(predict(image, grid, batch_size, **options), whole, strict=True):
        assert np.array_equal(part[window.slices], all_of_it[window.slices])
        part[window.slices] = np.nan
        assert np.isnan(part).all()


def test_only_tiles_that_reach_the_window_are_read():
    grid = TileGrid.over((1000, 1000), (32, 32))
    rows, columns = tiles_of(grid, Box(100, 101, 500, 700))
    assert 1 <= len(rows) <= 2
    for axis, places, start, stop in (
        (grid.rows, rows, 100, 101),
        (grid.columns, columns, 500, 700),
    ):
        for index in range(axis.count):
            reached = np.isin(axis.source(index), np.arange(start, stop)).any()
            assert reached == (index in places)


def test_batches_are_equal_whatever_the_window():
    grid = TileGrid.over((100, 100), (32, 32))
    sizes, reported = [], []

    def network(tiles):
        sizes.append(len(tiles))
        return [tiles]

    image, output = noise((100, 100, 1)), np.empty((100, 100, 1))
    # 16 tiles in four batches of at most 5 are four batches of 4.
    predict_tiled(image, network, grid, [output], 5, reported.append)
    assert sizes == reported == [4, 4, 4, 4]
    sizes.clear()
    predict_tiled(image, network, grid, [output], 5, window=Box(0, 30, 0, 10))
    predict_tiled(image, network, grid, [output], 5, window=Box(0, 100, 40, 60))
    assert set(sizes) == {4}


@given(st.integers(0, 2**20), st.integers(0, 70), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_tiles_that_repeat_are_predicted_once(seed, most, batch_size):
    rng = np.random.default_rng(seed)
    image = np.zeros((120, 130, 2), np.float32)
    y, x = rng.integers(0, 90, 2)
    image[y : y + most, x : x + most] = rng.random(image[y : y + most, x : x + most].shape)
    image[100:] = 0.25
    grid = TileGrid.over((120, 130), (16, 16))
    predicted = []

    def network(tiles):
        predicted.append(tiles)
        return position_dependent(tiles)

    outputs = [np.empty((120, 130, n), np.float32) for n in (1, 6)]
    repeated = predict_tiled(image, network, grid, outputs, batch_size)
    for ours, definition in zip(outputs, all_at_once(image, grid), strict=True):
        assert np.array_equal(ours, definition.astype(np.float32))
    tiles = {tile.tobytes() for tile in np.concatenate(predicted)}
    asked = sum(map(len, predicted))
    assert len(tiles) <= len(grid) - repeated <= asked < len(grid) - repeated + batch_size
    assert repeated > 5


def test_a_failing_network_or_image_ends_the_prediction():
    class Broken(Windows):
        def __getitem__(self, key):
            raise OSError("no such shard")

    grid = TileGrid.over((100, 100), (32, 32))
    outputs = [np.empty((100, 100, 1))]
    with pytest.raises(OSError, match="no such shard"):
        predict_tiled(Broken((100, 100, 1)), lambda tiles: [tiles], grid, outputs)

    def network(tiles):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        predict_tiled(noise((100, 100, 1)), network, grid, outputs)


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


class Blocks:
    """An output that keeps nothing but how often each of its units was written."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape, unit):
        self.shape = shape
        self.unit = unit
        self.written = np.zeros([-(-n // unit) for n in shape[:2]], int)
        self.pixels = 0

    def __setitem__(self, key, values):
        rows, columns = key
        assert values.shape == (rows.stop - rows.start, columns.stop - columns.start, 1)
        y, x = (slice(s.start // self.unit, -(-s.stop // self.unit)) for s in key)
        self.written[y, x] += 1
        self.pixels += values.size


@pytest.mark.parametrize("padding", ["constant", "reflect"])
def test_memory_does_not_grow_with_the_height(padding):
    peaks = []
    for height in (200, 3200):
        image, output = Windows((height, 150, 1)), Blocks((height, 150, 1), 1)
        grid = TileGrid.over((height, 150), (64, 64), padding=padding)
        tracemalloc.start()
        predict_tiled(image, lambda tiles: [tiles], grid, [output], 4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (output.written == 1).all()
        assert image.largest <= 64 * 64
    assert peaks[1] < peaks[0] * 1.2


def test_memory_does_not_grow_with_the_width():
    peaks = []
    for width in (2000, 16000):
        image, output = Windows((100, width, 1)), Blocks((100, width, 1), 100)
        grid = TileGrid.over((100, width), (64, 64))
        tracemalloc.start()
        predict_tiled(image, lambda tiles: [tiles], grid, [output], 4, unit=100, memory=1_000_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (output.written == 1).all()
    assert peaks[1] < peaks[0] * 1.2 < 4_000_000


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 90), st.integers(0, 10**6))
def test_strips_are_cut_at_units_and_cover_the_window(start, width, unit, memory):
    window = Box(3, 9, start, start + width)
    grid = TileGrid.over((700, 700), (16, 16))
    cut = list(strips(window, grid, [np.empty((1, 1, 2))], unit, memory))
    assert [cut[0].x0, *(strip.x1 for strip in cut)] == [
        start, *(strip.x0 for strip in cut[1:]), start + width
    ]  # fmt: skip
    assert all(strip.x0 % unit == 0 and strip.shape[0] == 6 for strip in cut[1:])


@pytest.mark.parametrize("unit", [1, 50, 64])
def test_each_storage_unit_is_written_once(unit):
    output = Blocks((333, 290, 1), unit)
    grid = TileGrid.over((333, 290), (32, 32))
    image = Windows((333, 290, 1))
    window = Box(unit, 333, unit * 2, unit * 4)
    predict_tiled(image, lambda tiles: [tiles], grid, [output], window=window, unit=unit)
    rows, columns = -(-333 // unit) - 1, 2
    assert output.written.sum() == (output.written == 1).sum() == rows * columns
    assert output.pixels == window.shape[0] * window.shape[1]


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
    with pytest.raises(BadInput, match="window"):
        predict_tiled(
            noise((20, 20, 1)),
            lambda t: [t],
            grid,
            [np.empty((20, 20, 1))],
            window=Box(0, 21, 0, 9),
        )
    with pytest.raises(BadInput, match="image"):
        predict_tiled(noise((21, 20, 1)), lambda t: [t], grid, [np.empty((20, 20, 1))])
