"""Tiles as Cellpose lays them, and its taper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill.arrays.indexing import OUTSIDE
from cellmill.arrays.windows import Box
from cellmill.inference.tapered import TaperedAxis, taper
from cellmill.inference.tiled import predict_tiled, tiles_of
from cellmill.inference.tiles import TileGrid

SIZES = st.integers(1, 700)
TILES = st.sampled_from([32, 64, 224, 256])
OVERLAPS = st.sampled_from([0.05, 0.1, 0.5])


@given(SIZES, TILES, OVERLAPS, st.booleans())
def test_the_image_lies_in_zeros_and_weights_add_up(size, tile, overlap, fitted):
    axis = TaperedAxis.over(size, tile, overlap, fitted)
    assert axis.tile <= tile
    assert axis.tile % 16 == 0
    assert axis.tile == tile or fitted
    padded = axis.starts[-1] + axis.tile
    after = padded - size - axis.before
    assert min(axis.before, after) >= 8
    assert 0 <= after - axis.before <= 1
    assert sum(axis.advance(i) for i in range(axis.count)) == padded
    total = np.zeros(padded)
    seen = set()
    for i, start in enumerate(axis.starts):
        total[start : start + axis.tile] += axis.weights(i, "blended")
        seen.update(axis.source(i).tolist())
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert seen - {OUTSIDE} == set(range(size))


@given(SIZES, TILES, st.booleans(), st.data())
def test_the_tiles_that_reach_a_window_are_those_with_its_pixels(size, tile, fitted, data):
    axis = TaperedAxis.over(size, tile, 0.1, fitted)
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    having = [
        i for i in range(axis.count) if ((axis.source(i) >= start) & (axis.source(i) < stop)).any()
    ]
    assert list(axis.reaching(start, stop)) == having


def test_the_taper_is_half_twenty_pixels_from_an_edge_of_a_whole_tile():
    whole = taper(224, 224)
    np.testing.assert_allclose(whole, whole[::-1])
    assert np.argmin(np.abs(whole[:112] - 0.5)) in (19, 20)
    # Smaller tiles have the middle of it.
    assert np.array_equal(taper(96, 64), whole[64:160])
    assert len(taper(256, 256)) == 256


def test_a_head_of_fewer_values_is_not_tapered():
    with pytest.raises(ValueError, match="a value for each pixel"):
        TaperedAxis.over(100, 64, 0.1, True).strided(2)


@pytest.mark.parametrize("shape", [(5, 300), (130, 90), (224, 225)])
@pytest.mark.parametrize("fitted", [False, True])
def test_windows_and_strips_give_the_whole(shape, fitted):
    image = np.random.default_rng(0).random((*shape, 1), np.float32)
    grid = TileGrid.over(shape, (64, 64), overlap=0.1, fitted=fitted, layout="tapered")

    def network(tiles):
        """Give each pixel's value, and something of where in the tile it is."""
        return [tiles + np.linspace(0, 1, tiles.shape[2], dtype=np.float32)[:, None]]

    whole = np.zeros_like(image)
    predict_tiled(image, network, grid, [whole])
    parts = np.full_like(image, np.nan)
    y, x = (side // 2 for side in shape)
    for box in (Box(0, y, 0, x), Box(0, y, x, shape[1]), Box(y, shape[0], 0, shape[1])):
        predict_tiled(image, network, grid, [parts], window=box, memory=0)
    assert np.array_equal(parts, whole)
    assert len(tiles_of(grid, Box(0, 1, 0, 1))[0]) <= grid.rows.count
    # What a tile adds of its own is averaged: the image is there, and no more than 1 besides.
    assert (whole >= image - 1e-6).all()
    assert (whole <= image + 1 + 1e-6).all()
