"""Blocks of any size, in any order, killed or not, give the labels of the whole volume."""

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import Grid
from cellmill.segmentation.deep_watershed import (
    WatershedParameters,
    segment_maps,
    tile_flooding,
)
from cellmill.segmentation.deep_watershed.tiled import segment_tiled
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import find_method
from tests.segmentation.deep_watershed.test_tiled import (
    BORDER,
    ODD,
    PARAMETERS,
    PLAIN,
    RELATIVE,
    Killed,
    Mortal,
    tiled,
)
from tests.segmentation.maps import (
    balls,
    bfloat16,
    edge_distance,
    like_a_network,
    made_maps,
    permutation,
    quantised,
    smooth_noise,
)
from tests.segmentation.test_volume_tiles import InFiles, Repeated

METHOD = find_method("deep_watershed")
MAPS = [(name, maxima, interior) for name, maxima, interior in made_maps() if maxima.ndim == 3]


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_labels_are_those_of_the_whole_volume(parameters):
    for number, (name, maxima, interior) in enumerate(MAPS):
        if maxima.dtype == np.float32:
            side = (12, 19, 33)[number % 3]
            expected = segment_maps(maxima, interior, parameters)
            found, report = tiled(maxima, interior, parameters, side, seed=side)
            np.testing.assert_array_equal(found, expected, err_msg=name)
            areas = np.bincount(expected.reshape(-1))[1:]
            np.testing.assert_array_equal(report.areas, areas, err_msg=name)


@pytest.mark.parametrize(("levels", "side"), [(0, 16), (3, 16), (12, 11)])
def test_dense_balls_that_touch_larger_than_blocks(levels, side, monkeypatch):
    monkeypatch.setitem(tile_flooding._HALO, 3, levels)
    labels = balls(3, (22, 34, 37), 30, 9)
    maxima, interior = like_a_network(3, labels)
    if levels:  # plateaus, and ties between neighbours
        maxima, interior = (quantised(edge_distance(labels), levels),) * 2
    for parameters in (PLAIN, RELATIVE, BORDER):
        expected = segment_maps(maxima, interior, parameters)
        assert expected.max() > 5
        found, _ = tiled(maxima, interior, parameters, side, seed=levels)
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 14), st.integers(1, 24), st.integers(1, 24)),
    sigma=st.sampled_from([0, 1, 3]),
    levels=st.sampled_from([0, 2, 4, 20]),
    side=st.integers(3, 16),
    which=st.sampled_from(sorted(PARAMETERS)),
)
def test_any_map_any_blocks_any_order(seed, shape, sigma, levels, side, which):
    volume = smooth_noise(seed, shape, sigma)
    volume = quantised(volume, levels) if levels else bfloat16(volume)
    expected = segment_maps(volume, volume, PARAMETERS[which])
    found, _ = tiled(volume, volume, PARAMETERS[which], side, seed)
    np.testing.assert_array_equal(found, expected)


def test_one_object_over_eight_blocks_its_hole_and_what_is_small():
    z, y, x = np.indices((40, 42, 44)) - 20
    far = np.sqrt(z**2 + y**2 + x**2)
    interior = ((far < 17) & (far > 4)).astype(np.float32)
    interior[1:3, 1:3, 1:3] = 1  # small, and at the border
    interior[36:39, 36:39, 36:39] = 1
    maxima = np.where(interior > 0, np.float32(0.5), np.float32(0))
    parameters = WatershedParameters(
        radius=2,
        maxima_threshold=0.2,
        interior_smooth=0,
        small_objects_threshold=20,
        fill_holes_threshold=1e6,
    )
    expected = segment_maps(maxima, interior, parameters)
    assert expected.max() == 2
    assert expected[20, 20, 20] == 0, "holes of volumes are not filled"
    assert expected[1, 1, 1] == 0
    for side in (14, 20):
        found, _ = tiled(maxima, interior, parameters, side, seed=side)
        np.testing.assert_array_equal(found, expected)


def test_a_flood_that_winds_through_all_blocks_and_back(monkeypatch):
    monkeypatch.setitem(tile_flooding._HALO, 3, 1)
    volume = np.zeros((5, 9, 11), np.float32)
    for k, z in enumerate(range(0, 5, 2)):  # planes of a corridor each, joined at their ends
        corridor = np.zeros((9, 11), np.float32)
        corridor[::2] = 0.5
        corridor[1::4, -1], corridor[3::4, 0] = 0.5, 0.5
        volume[z] = corridor
        end = (0, 0) if k % 2 else (8, 10)
        volume[z + 1 : z + 2, end[0], end[1]] = 0.5
    volume[0, 0, 0] = 1
    parameters = WatershedParameters(radius=1, maxima_threshold=0.2, interior_smooth=0)
    expected = segment_maps(volume, volume, parameters)
    np.testing.assert_array_equal(expected > 0, volume > 0)
    found, report = tiled(volume, volume, parameters, 4)
    np.testing.assert_array_equal(found, expected)
    assert report.flooded_again > 20


def test_numbers_of_the_reference_are_kept():
    maxima, interior = permutation(3, (12, 40, 30)), smooth_noise(3, (12, 40, 30), 3)
    expected = segment_maps(maxima, interior, PLAIN, "reference")
    found, _ = tiled(maxima, interior, PLAIN, 9, numbering="reference")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_was_killed_is_gone_on_with(seed):
    volume = quantised(smooth_noise(seed, (20, 40, 45), 3), 12)
    expected = segment_maps(volume, volume, ODD)
    draw = random.Random(seed)
    kept, provisional, kills = {}, np.zeros(volume.shape, np.int64), 0
    while True:
        out = np.zeros(volume.shape, np.int32)
        try:
            marks = Mortal(kept, draw.randint(4, 20))
            segment_tiled(volume, volume, ODD, provisional, out, side=12, marks=marks)
            break
        except Killed:
            kills += 1
    np.testing.assert_array_equal(out, expected)
    assert kills > 0


def test_memory_does_not_grow_with_the_volume(tmp_path):
    maxima, interior = like_a_network(1, balls(1, (64, 64, 64), 40, 8))
    parameters = WatershedParameters(
        maxima_smooth=1.0, interior_threshold=0.2, small_objects_fraction=0.2, radius=2
    )

    def most(width):
        maps = Maps.of(maxima=Repeated(maxima, width), interior=Repeated(interior, width))
        grid = Grid(maps.shape, 64)
        (folder := tmp_path / f"{width}").mkdir()
        tracemalloc.start()
        try:
            work = METHOD.tiled.open(maps, parameters, grid, InFiles(folder))
            work.prepare(1)
            work.work(range(len(grid)), 1)
            work.settle(1)
            assert work.labels(1)[20, :, -64:].max() > 0
            return tracemalloc.get_traced_memory()[1], METHOD.tiled.bytes_of(grid)
        finally:
            tracemalloc.stop()

    most(64)  # compiled before memory is counted
    (small, _), (large, allowed) = most(192), most(448)
    assert large < 1.1 * small
    assert large < allowed
