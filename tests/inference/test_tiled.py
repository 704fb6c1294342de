"""Streamed tiled prediction against the same done at once, and its memory."""

import dataclasses
import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.inference.bands import Target
from cellmill.inference.tiled import card_grid, predict_tiled, read_tile, strips, tiles_of
from cellmill.inference.tiles import TileGrid, spline_window
from cellmill.models.card import Head, Tiling, known_cards

SIDES = st.integers(1, 90)
TILINGS = {
    "tile": st.sampled_from([(8, 8), (16, 24), (36, 20)]),
    "overlap": st.sampled_from([0.0, 0.25, 0.5]),
    "padding": st.sampled_from(["constant", "reflect"]),
    "fitted": st.booleans(),
}
#: Stride and placement of each of two heads; the tiles' sides are multiples of all strides.
HEADS = st.tuples(
    *[st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from(["blended", "cropped"]))] * 2
)
PLAIN = ((1, "blended"), (1, "blended"))


def noise(shape):
    return np.random.default_rng(shape[0]).random(shape, dtype=np.float32)


def position_dependent(tiles, layouts=PLAIN):
    """Two heads whose values depend on where in the tile a pixel lies, each at its stride."""
    ramp = np.linspace(0.5, 1.5, tiles.shape[1] * tiles.shape[2], dtype=np.float32)
    tilted = tiles * ramp.reshape(1, *tiles.shape[1:3], 1)
    heads = [tilted[..., :1], np.concatenate([tilted, 1 - tilted, tiles], -1)]
    return [h[:, ::stride, ::stride] for h, (stride, _) in zip(heads, layouts, strict=True)]


def heads_of(layouts, channels):
    return [
        Head(f"h{i}", "nuclear", "pixelwise", count, stride, placement)
        for i, ((stride, placement), count) in enumerate(zip(layouts, channels, strict=True))
    ]


def lay(shape, layouts, **tiling):
    return TileGrid.over(shape, alignment=math.lcm(*(stride for stride, _ in layouts)), **tiling)


def predict(image, grid, batch_size=3, dtype=np.float32, layouts=PLAIN, **options):
    heads = heads_of(layouts, (1, 3 * image.shape[2]))
    outputs = [np.full(head.shape_over(grid.shape), np.nan, dtype) for head in heads]
    network = partial(position_dependent, layouts=layouts)
    predict_tiled(image, network, grid, outputs, batch_size, heads=heads, **options)
    return outputs


def all_at_once(image, grid, layouts=PLAIN):
    """The definition: extend, cut, predict all, put the tiles together, crop."""
    tiles = np.stack([read_tile(image, grid, *position) for position in grid.positions()])
    results = []
    for head, (stride, placement) in zip(position_dependent(tiles, layouts), layouts, strict=True):
        size = (grid.rows.extended // stride, grid.columns.extended // stride)
        total = np.zeros((*size, head.shape[-1]))
        for (row, column), tile in zip(grid.positions(), head, strict=True):
            y, x = grid.rows.start(row) // stride, grid.columns.start(column) // stride
            axes = [
                tuple(n // stride for n in axis.overlaps(place))
                for axis, place in ((grid.rows, row), (grid.columns, column))
            ]
            if placement == "cropped":
                # From the middle of what it shares with the tiles before it on.
                cut_y, cut_x = (before // 2 for _, before, _ in axes)
                total[y + cut_y :, x + cut_x :][
                    : tile.shape[0] - cut_y, : tile.shape[1] - cut_x
                ] = tile[cut_y:, cut_x:]
                continue
            window = total[y : y + tile.shape[0], x : x + tile.shape[1]]
            if min(grid.rows.count, grid.columns.count) > 1:
                weights = np.outer(*(spline_window(*axis) for axis in axes))
                window += tile * weights[..., None]
            else:
                window[...] = tile
        y, x = grid.rows.before // stride, grid.columns.before // stride
        rows, columns = (math.ceil(side / stride) for side in grid.shape)
        results.append(total[y : y + rows, x : x + columns])
    return results


@given(SIDES, SIDES, st.fixed_dictionaries(TILINGS), HEADS, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_the_stream_equals_all_at_once(y, x, tiling, layouts, batch_size):
    image = noise((y, x, 2))
    grid = lay((y, x), layouts, **tiling)
    streamed = predict(image, grid, batch_size, np.float64, layouts)
    for ours, definition in zip(streamed, all_at_once(image, grid, layouts), strict=True):
        assert np.array_equal(ours, definition)


@given(SIDES, SIDES, st.fixed_dictionaries(TILINGS), st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_a_value_of_a_head_stands_at_its_pixel(y, x, tiling, stride):
    """A network that hands on every so-maniest pixel gives those of the image, unmixed."""
    image = noise((y, x, 2))
    head = Head("same", "nuclear", "pixelwise", 2, stride, "cropped")
    output = np.full(head.shape_over((y, x)), np.nan, np.float32)
    grid = TileGrid.over((y, x), alignment=stride, **tiling)
    predict_tiled(image, lambda t: [t[:, ::stride, ::stride]], grid, [output], heads=[head])
    assert np.array_equal(output, image[::stride, ::stride])


def test_cropped_tiles_are_not_mixed():
    grid = TileGrid.over((100, 90), (32, 32))
    head = Head("number", "nuclear", "pixelwise", 1, 1, "cropped")
    output = np.empty((100, 90, 1), np.float32)
    numbers = iter(range(1, 100))

    def network(tiles):
        return [np.ones_like(tiles) * [[[[next(numbers)]]] for _ in tiles]]

    predict_tiled(noise((100, 90, 1)), network, grid, [output], 1, heads=[head])
    # Each tile's number fills one rectangle, half of each overlap.
    assert sorted(np.unique(output)) == [*range(1, len(grid) + 1)]
    for number in range(1, len(grid) + 1):
        ys, xs = np.nonzero(output[..., 0] == number)
        assert len(ys) == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
        inner = 32 - grid.rows.overlap
        assert max(np.ptp(ys), np.ptp(xs)) < inner + grid.rows.overlap // 2 + 1


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
    SIDES,
    SIDES,
    st.fixed_dictionaries(TILINGS),
    HEADS,
    st.integers(1, 9),
    st.sampled_from([1, 16, 30]),
    st.data(),
)
@settings(max_examples=120, deadline=None)
def test_a_window_is_that_of_the_whole(y, x, tiling, layouts, batch_size, unit, data):
    image = noise((y, x, 1))
    grid = lay((y, x), layouts, **tiling)
    whole = predict(image, grid, 5, layouts=layouts)
    cuts = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in (y, x)]
    window = Box(*cuts[0], *cuts[1])
    memory = data.draw(st.sampled_from([0, 1 << 30]))
    options = {"window": window, "unit": unit, "memory": memory, "layouts": layouts}
    parts = predict(image, grid, batch_size, **options)
    for part, all_of_it, (stride, _) in zip(parts, whole, layouts, strict=True):
        # Those values whose pixel lies in the window, and no others.
        inside = np.zeros((y, x), bool)
        inside[window.slices] = True
        inside = inside[::stride, ::stride]
        assert np.array_equal(part[inside], all_of_it[inside])
        assert np.isnan(part[~inside]).all()


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


def traced_peak(work):
    """The most bytes that Python objects and arrays took while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# How far reading, predicting and blending run side by side differs from run to run, so what they
# hold is compared with a bound that says what may be held, and not with another run.


@pytest.mark.parametrize("padding", ["constant", "reflect"])
@pytest.mark.parametrize("height", [3200, 51200])
def test_a_high_image_takes_the_memory_of_a_few_batches(padding, height):
    image, output = Windows((height, 150, 1)), Blocks((height, 150, 1), 1)
    grid = TileGrid.over((height, 150), (64, 64), padding=padding)

    peak = traced_peak(lambda: predict_tiled(image, lambda tiles: [tiles], grid, [output], 4))

    batch = 4 * 64 * 64 * 4
    assert peak < 24 * batch
    assert (output.written == 1).all()
    assert image.largest <= 64 * 64


@pytest.mark.parametrize(("stride", "placement"), [(1, "blended"), (2, "cropped")])
@pytest.mark.parametrize("width", [4000, 64000])
def test_a_wide_image_takes_the_memory_that_blending_is_given(stride, placement, width):
    (head,) = heads_of([(stride, placement)], [1])
    image, output = Windows((100, width, 1)), Blocks(head.shape_over((100, width)), 100)
    grid = TileGrid.over((100, width), (64, 64), alignment=stride)

    def network(tiles):
        return [tiles[:, ::stride, ::stride]]

    options = {"heads": [head], "unit": 100, "memory": 1_000_000}
    peak = traced_peak(lambda: predict_tiled(image, network, grid, [output], 4, **options))

    batch = 4 * 64 * 64 * 4
    assert peak < 1_000_000 + 24 * batch
    assert (output.written == 1).all()


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 90),
    st.integers(0, 10**6),
    st.sampled_from([(1,), (2,), (1, 4), (2, 4)]),
)
def test_strips_are_cut_at_units_and_cover_the_window(start, width, unit, memory, strides):
    window = Box(3, 9, start, start + width)
    grid = TileGrid.over((700, 700), (16, 16), alignment=math.lcm(*strides))
    targets = [
        Target(np.empty((700 // s, 700 // s, 2)), grid.strided(s), s, "blended") for s in strides
    ]
    cut = list(strips(window, grid, targets, unit, memory))
    step = unit * math.lcm(*strides)
    assert [cut[0].x0, *(strip.x1 for strip in cut)] == [
        start, *(strip.x0 for strip in cut[1:]), start + width
    ]  # fmt: skip
    assert all(strip.x0 % step == 0 and strip.shape[0] == 6 for strip in cut[1:])


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


@given(st.integers(1, 400), st.integers(1, 400), HEADS, st.sampled_from([1, 20, 64]), st.data())
@settings(max_examples=40, deadline=None)
def test_windows_write_each_storage_unit_of_each_head_once(y, x, layouts, unit, data):
    """Whatever windows cut an image at common multiples of all units, in strips or not."""
    if unit == 1:  # a window has a handful of pixels then
        y, x = y % 40 + 1, x % 40 + 1
    grid = lay((y, x), layouts, tile=(32, 32))
    heads = heads_of(layouts, (1, 1))
    outputs = [Blocks(head.shape_over((y, x)), unit) for head in heads]
    step = unit * math.lcm(*(head.stride for head in heads))
    memory = data.draw(st.sampled_from([0, 1 << 30]))
    for y0 in range(0, y, 3 * step):
        for x0 in range(0, x, 2 * step):
            window = Box(y0, min(y0 + 3 * step, y), x0, min(x0 + 2 * step, x))
            predict_tiled(
                Windows((y, x, 1)),
                lambda tiles: [tiles[:, :: h.stride, :: h.stride] for h in heads],
                grid,
                outputs,
                heads=heads,
                window=window,
                unit=unit,
                memory=memory,
            )
    for output in outputs:
        assert (output.written == 1).all() or unit == 1
        assert output.pixels == math.prod(output.shape)


def test_a_head_of_a_large_stride_is_written_after_the_others():
    """So that what it says is written is written of all heads."""
    heads = heads_of([(4, "blended"), (1, "blended"), (2, "cropped")], [1, 1, 1])
    grid = TileGrid.over((500, 90), (32, 32), alignment=4)
    rows = [0, 0, 0]

    class Watched(Blocks):
        def __init__(self, number):
            super().__init__(heads[number].shape_over((500, 90)), 16)
            self.number = number

        def __setitem__(self, key, values):
            super().__setitem__(key, values)
            rows[self.number] = key[0].stop * heads[self.number].stride
            if self.number == 0:
                assert min(rows) >= min(rows[0], 500)

    def network(tiles):
        return [tiles[:, :: h.stride, :: h.stride] for h in heads]

    outputs = [Watched(number) for number in range(3)]
    predict_tiled(Windows((500, 90, 1)), network, grid, outputs, heads=heads, unit=16)
    assert min(rows) >= 500


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


@pytest.mark.parametrize("size", [100, 256, 301, 869])
def test_tiles_start_where_the_network_pools(size):
    card = known_cards()["Mesmer"]
    card = dataclasses.replace(card, tiling=Tiling("reflect", 0.25, 16))
    grid = card_grid(card, (size, 512))
    starts = [grid.rows.start(i) - grid.rows.before for i in range(grid.rows.count)]
    assert not any(start % 16 for start in starts)
    assert starts[0] <= 0
    assert starts[-1] + grid.rows.tile >= size
