"""Reconstruction is scikit-image's; tiles of any size, in any order, give the whole image's."""

import random

import numpy as np
import pytest
import skimage.morphology
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.arrays.windows import Grid
from cellmill.errors import BadInput
from cellmill.morphology import hmaxima
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint
from cellmill.morphology.reconstruction import h_maxima_tiles, reconstruct, reconstruct_tiles
from tests.segmentation.maps import made_maps, quantised, smooth_noise, spiral

MAPS = [(name, image) for name, image, _ in made_maps()]
FLAT_MAPS = [(n, m) for n, m in MAPS if m.ndim == 2]


@st.composite
def seeds_and_masks(draw, most_dimensions=3, longest=12):
    ndim = draw(st.integers(2, most_dimensions))
    shape = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    mask = quantised(rng.random(shape), draw(st.sampled_from([2, 5, 1000])))
    return (mask - rng.random(shape) * (rng.random(shape) < 0.95)).astype(np.float32), mask


@settings(deadline=None, max_examples=200)
@given(seeds_and_masks(), st.integers(0, 10**6))
def test_it_is_scikit_image_s_with_any_footprint(pair, seed):
    rng = np.random.default_rng(seed)
    footprint = rng.random(rng.choice([1, 3, 5], pair[0].ndim)) < rng.random()
    expected = skimage.morphology.reconstruction(*pair, footprint=footprint)
    assert np.array_equal(reconstruct(*pair, footprint), expected)
    assert np.array_equal(reconstruct(*pair), skimage.morphology.reconstruction(*pair))


def in_tiles(pair, side, radius, seed):
    out = np.full(pair[0].shape, np.nan, np.float32)

    def write(box, values):
        out[box.slices] = values

    repeated = reconstruct_tiles(
        lambda box: (pair[0][box.slices], pair[1][box.slices]),
        write,
        Grid(out.shape, side),
        hmaxima.reach_of(ball_footprint(radius, 2), 2),
        random.Random(seed),
    )
    return out, repeated


@settings(deadline=None, max_examples=60)
@given(
    seeds_and_masks(2, 60),
    st.integers(2, 40),
    st.integers(1, 4),
    st.integers(0, 10**6),
)
def test_tiles_of_any_size_in_any_order(pair, side, radius, seed):
    tiled, _ = in_tiles(pair, side, radius, seed)
    assert np.array_equal(tiled, reconstruct(*pair, ball_footprint(radius, 2)))


def test_a_spiral_goes_round_through_the_tiles():
    mask = spiral(60)
    seed = np.where(mask == mask.max(), mask, 0).astype(np.float32)
    tiled, repeated = in_tiles((seed, mask), 16, 1, 0)
    assert np.array_equal(tiled, reconstruct(seed, mask, ball_footprint(1, 2)))
    assert repeated > 10


def maxima_in_tiles(image, h, footprint, side, halo, seed):
    found = np.zeros(image.shape, bool)

    def write(box, values):
        found[box.slices] = values

    repeated = h_maxima_tiles(
        lambda box: image[box.slices],
        write,
        Grid(image.shape, side),
        h,
        footprint,
        halo,
        random.Random(seed),
    )
    return found, repeated


@pytest.mark.parametrize("number", range(len(FLAT_MAPS)), ids=[name for name, _ in FLAT_MAPS])
def test_h_maxima_of_made_maps_by_tiles(number):
    image = FLAT_MAPS[number][1]
    for k, (side, halo, h) in enumerate(((16, 0, 0.01), (37, 6, 0.075), (16, 4, 0.5))):
        footprint = ball_footprint((2, 1, 3)[k], 2)
        tiled, _ = maxima_in_tiles(image, h, footprint, side, halo, number)
        assert np.array_equal(tiled, h_maxima(image, h, footprint))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.sampled_from([2, 4, 20, 1000]),
    st.floats(0.01, 1.1),
    st.integers(16, 40),
    st.integers(0, 20),
)
def test_h_maxima_by_tiles_of_any_size_in_any_order(seed, shape, levels, h, side, halo):
    image = quantised(smooth_noise(seed, shape, 1.5), levels)
    image[0, 0] = -1
    footprint = ball_footprint(2, 2)
    tiled, _ = maxima_in_tiles(image, h, footprint, side, halo, seed)
    assert np.array_equal(tiled, h_maxima(image, h, footprint))


def test_halos_that_suffice_need_no_reconstruction():
    image = dict(FLAT_MAPS)["network-like, radius 5"]
    assert maxima_in_tiles(image, 0.075, ball_footprint(2, 2), 64, 40, 0)[1] == 0


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (np.ones((4, 4), np.float32), "seed of a reconstruction: .* found 16 pixels above it"),
        (np.zeros((4, 4)), "one shape and dtype"),
        (np.zeros((4, 5), np.float32), "one shape and dtype"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(seed, message):
    with pytest.raises(BadInput, match=message):
        reconstruct(seed, np.zeros((4, 4), np.float32))
