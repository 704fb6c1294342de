"""The grid of tiles and its weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.indexing import OUTSIDE
from cellmill.errors import BadInput
from cellmill.inference.tiles import TileGrid, inner_window, spline_window

SIDES = st.integers(1, 400)
PADDINGS = st.sampled_from(["constant", "reflect"])
OVERLAPS = st.sampled_from([0.0, 0.125, 0.25, 0.4, 0.5])


@given(SIDES, SIDES, st.integers(8, 64), OVERLAPS, PADDINGS)
def test_every_pixel_is_in_a_tile_and_tiles_advance_by_the_stride(y, x, tile, overlap, padding):
    grid = TileGrid.over((y, x), (tile, tile), overlap=overlap, padding=padding)
    assert len(list(grid.positions())) == len(grid)
    for axis in (grid.rows, grid.columns):
        assert axis.extended >= max(axis.size, tile)
        assert 0 <= axis.before <= axis.extended - axis.size
        seen = set()
        for i in range(axis.count):
            seen.update(axis.source(i).tolist())
        assert seen - {OUTSIDE} == set(range(axis.size))
        assert 0 <= axis.overlap <= tile // 2
        # One tile fewer would not reach.
        assert axis.count == 1 or axis.extended - axis.stride < axis.size


@given(SIDES, st.integers(2, 40), st.sampled_from([1, 2, 4]), OVERLAPS, PADDINGS)
def test_fitted_tiles_are_as_many_and_reach_no_further(size, times, alignment, overlap, padding):
    tile = times * 2 * alignment
    options = {"overlap": overlap, "padding": padding, "alignment": alignment}
    full, axis = (
        TileGrid.over((size, size), (tile, tile), **options, fitted=fitted).rows
        for fitted in (False, True)
    )
    assert axis.count == full.count
    assert axis.tile <= tile
    assert axis.tile % alignment == axis.start(1) % alignment == axis.before % alignment == 0
    seen = np.concatenate([axis.source(i) for i in range(axis.count)])
    assert set(seen.tolist()) - {OUTSIDE} == set(range(size))
    if axis.count > 1:
        assert axis.overlap == full.overlap
        assert axis.tile >= 2 * axis.overlap
    if 64 < axis.tile != 2 * axis.overlap:
        # Fewer pixels beyond the image than one step of each tile.
        assert axis.extended - size < axis.count * max(2, alignment)


@pytest.mark.parametrize(
    ("side", "tile", "count"), [(100, 112, 1), (512, 512, 1), (1024, 384, 3), (2048, 464, 5)]
)
def test_an_image_has_tiles_that_divide_it(side, tile, count):
    grid = TileGrid.over((side, side), (512, 512), overlap=0.125, alignment=16, fitted=True)
    assert (grid.tile, grid.rows.count) == ((tile, tile), count)


@given(st.integers(1, 40), st.integers(8, 64), OVERLAPS, PADDINGS)
def test_padding_is_numpys(size, tile, overlap, padding):
    axis = TileGrid.over((size, size), (tile, tile), overlap=overlap, padding=padding).rows
    pads = (axis.before, axis.extended - size - axis.before)
    assert 0 <= abs(pads[0] - pads[1]) <= 1
    image = np.arange(1, size + 1)
    mode = "reflect" if size < tile else padding
    extended = np.pad(image, pads, mode=mode)
    for i in range(axis.count):
        source = axis.source(i)
        values = np.where(source == OUTSIDE, 0, image[np.maximum(source, 0)])
        assert np.array_equal(values, extended[axis.start(i) : axis.start(i) + tile])


def test_mesmers_grid():
    grid = TileGrid.over((512, 700))
    assert (grid.rows.stride, grid.rows.count, grid.columns.count) == (192, 3, 4)
    assert (grid.rows.before, grid.columns.before) == (64, 66)
    # The larger half of an odd leftover comes first; for a side below a tile it comes last.
    assert TileGrid.over((449, 449)).rows.before == 96
    assert TileGrid.over((255, 255)).rows.before == 0


def test_a_short_side_is_extended_alone():
    grid = TileGrid.over((200, 700))
    assert (grid.rows.count, grid.rows.extended) == (1, 256)
    assert grid.columns.count == 4
    assert grid.overwrites("blended")
    assert not grid.overwrites("cropped")


def test_strides_are_even():
    for tile in (15, 50, 64, 256):
        stride = TileGrid.over((999, 999), (tile, tile)).rows.stride
        assert stride % 2 == 0
        assert 0 <= stride - 0.75 * tile < 2


@given(SIDES, st.sampled_from([2, 3, 4, 8]), st.integers(1, 8), OVERLAPS, PADDINGS)
def test_a_strided_grid_has_the_same_tiles_at_its_own_values(size, stride, half, overlap, padding):
    tile = 2 * half * stride
    grid = TileGrid.over(
        (size, size), (tile, tile), overlap=overlap, padding=padding, alignment=stride
    )
    axis, coarse = grid.rows, grid.strided(stride).rows
    assert (coarse.count, coarse.size) == (axis.count, -(-size // stride))
    assert coarse.extended * stride == axis.extended
    for i in range(axis.count):
        assert (axis.start(i) - axis.before) % stride == 0
        assert (axis.start(i) - axis.before) // stride == coarse.start(i) - coarse.before
        assert coarse.overlaps(i) == tuple(n // stride for n in axis.overlaps(i))
    assert grid.strided(1) == grid


@given(st.integers(2, 60), st.integers(0, 30), st.integers(0, 30))
def test_of_two_tiles_one_gives_each_pixel(size, before, after):
    before, after = min(before, size // 2), min(after, size // 2)
    window = inner_window(size, before, after)
    assert np.array_equal(window[before : size - after], np.ones(size - before - after))
    neighbour = inner_window(size, after, 0)
    assert np.array_equal(window[size - after :] + neighbour[:after], np.ones(after))


@given(st.integers(1, 128))
def test_ramps_of_neighbours_add_up_to_nearly_one(overlap):
    window = spline_window(2 * overlap, before=overlap, after=overlap)
    total = window[:overlap] + window[overlap:]
    assert window.max() == 1
    if overlap % 2 == 0:
        assert np.allclose(total, 1 + 1 / (2 * overlap**2 - 1))
    assert (np.diff(window[:overlap]) > 0).all()
    assert np.array_equal(window, window[::-1])


def test_the_window_of_mesmer_adds_up_to_what_the_reference_does():
    grid = TileGrid.over((600, 600))
    first, second = (spline_window(*grid.rows.overlaps(i)) for i in (0, 1))
    assert np.array_equal(first[:192], np.ones(192))
    total = first[192:] + second[:64]
    assert np.allclose(total**2, 1.000244, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overlap": 0.6}, "tiling.overlap: expected 0 to 0.5, found 0.6"),
        ({"overlap": -0.1}, "tiling.overlap"),
        ({"padding": "wrap"}, "constant or reflect, found 'wrap'"),
        ({"shape": (0, 5)}, "sides of at least 1"),
        ({"tile": (0, 5)}, "sides of at least 1"),
        (
            {"margin": 2, "fitted": True, "tile": (8, 8)},
            "tiling.margin: expected 0 where tiles are",
        ),
        ({"tile": (9, 8), "alignment": 2}, r"tiles of multiples of 2, found tile \(9, 8\)"),
    ],
)
def test_impossible_grids_are_refused(fields, message):
    with pytest.raises(BadInput, match=message):
        TileGrid.over(**{"shape": (10, 10), **fields})
