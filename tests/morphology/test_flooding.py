"""Flooding against scikit-image, against the local rule written plainly, and tile by tile."""

import random

import numpy as np
import pytest
import skimage.segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cellmill.arrays.windows import Grid
from cellmill.errors import BadInput
from cellmill.morphology.flooding import flood_tiles, watershed
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint, label_markers
from tests.segmentation.maps import (
    balls,
    bfloat16,
    edge_distance,
    like_a_network,
    made_maps,
    permutation,
    smooth_noise,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)


def settled_by_key(height, markers, mask):
    """Settle pixels in order of (level, steps, label); an unlabelled neighbour joins the settler.

    No age and no queue: level is the highest point of the way (heights turned over), steps count
    what was walked since, and equal pixels of one label need no order between them.
    """
    level = -height
    keys = {tuple(p): (level[tuple(p)], 0, markers[tuple(p)]) for p in np.argwhere(markers * mask)}
    open_keys = dict(keys)
    while open_keys:
        p = min(open_keys, key=open_keys.__getitem__)
        highest, steps, owner = open_keys.pop(p)
        for axis in range(level.ndim):
            for step in (-1, 1):
                q = (*p[:axis], p[axis] + step, *p[axis + 1 :])
                inside = all(0 <= i < side for i, side in zip(q, level.shape, strict=True))
                if inside and mask[q] and q not in keys:
                    rises = level[q] > highest
                    keys[q] = (level[q], 1, owner) if rises else (highest, steps + 2, owner)
                    open_keys[q] = keys[q]
    labels = np.zeros(level.shape, int)
    for p, (_, _, owner) in keys.items():
        labels[p] = owner
    return labels


@st.composite
def floods(draw):
    shape = draw(SHAPES)
    height = permutation(draw(st.integers(0, 10**6)), shape)
    spots = draw(hnp.arrays(bool, shape, elements=st.integers(0, 5).map(lambda n: n == 0)))
    markers, _ = ndimage.label(spots, np.ones((3,) * len(shape)))
    mask = height > draw(st.floats(-0.1, 0.9))
    return height, markers, mask


def scikit_image(height, markers, mask):
    return skimage.segmentation.watershed(-height, markers, mask=mask)


def in_tiles(flood, side, halo, seed):
    """Labels of the tiles put together, and how many floods were made again."""
    height, markers, mask = flood
    labels = np.full(height.shape, -1, np.int32)

    def write(box, found):
        labels[box.slices] = found

    repeated = flood_tiles(
        lambda box: (height[box.slices], markers[box.slices], mask[box.slices]),
        write,
        Grid(height.shape, side),
        halo,
        random.Random(seed),
    )
    return labels, repeated


def coarse(height, levels):
    """Round to few levels, so that most pixels are tied."""
    return np.round(height * levels).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(floods(), st.sampled_from([0, 2, 4, 20]))
def test_labels_follow_from_levels_steps_and_ids(flood, levels):
    height, markers, mask = flood
    height = coarse(height, levels) if levels else height
    assert np.array_equal(watershed(height, markers, mask), settled_by_key(height, markers, mask))


@settings(deadline=None, max_examples=200)
@given(floods(), st.sampled_from([0, 2, 4, 20]))
def test_the_reference_s_rule_is_scikit_image_s(flood, levels):
    height, markers, mask = flood
    height = coarse(height, levels) if levels else height
    labels = watershed(height, markers, mask, "reference")
    assert np.array_equal(labels, scikit_image(height, markers, mask))


@settings(deadline=None)
@given(floods())
def test_without_ties_the_rules_agree(flood):
    assert np.array_equal(watershed(*flood), watershed(*flood, tie_rule="reference"))


def all_floods():
    """Floods of every synthetic map from its own maxima, two thresholds each."""
    for name, maxima, interior in made_maps():
        found = h_maxima(maxima, 0.03, ball_footprint(2, maxima.ndim))
        for threshold in (0.2, -2):
            yield name, (interior, label_markers(found), interior > threshold)


FLOODS = list(all_floods())


@pytest.mark.parametrize("number", range(0, len(FLOODS), 2), ids=[n for n, _ in FLOODS[::2]])
def test_made_maps_by_either_rule_and_by_tiles(number):
    for _, flood in FLOODS[number : number + 2]:
        labels = watershed(*flood)
        reference = watershed(*flood, tie_rule="reference")
        assert np.array_equal(reference, scikit_image(*flood))
        assert np.array_equal(labels > 0, reference > 0)
        if flood[0].ndim == 2 and flood[0].dtype == np.float32:
            for side, halo in ((16, 1), (37, 6), (64, 64)):
                tiled, _ = in_tiles(flood, side, halo, number)
                assert np.array_equal(tiled, labels)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(17, 90), st.integers(17, 90)),
    st.sampled_from([0, 2, 4, 20, 1000]),
    st.integers(16, 50),
    st.integers(1, 20),
)
def test_tiles_of_any_size_in_any_order_give_the_same_labels(seed, shape, levels, side, halo):
    height = smooth_noise(seed, shape, 2)
    height = coarse(height, levels) if levels else height
    spots = np.random.default_rng(seed).random(shape) < 0.01
    flood = (height, label_markers(spots), height > np.quantile(height, 0.3))
    tiled, _ = in_tiles(flood, side, halo, seed)
    assert np.array_equal(tiled, watershed(*flood))


def test_a_marker_far_away_floods_tile_after_tile():
    height = np.full((120, 130), 0.5, np.float32)
    markers = np.zeros(height.shape, np.int32)
    markers[3, 4], markers[110, 120] = 1, 2
    flood = (height, markers, np.ones(height.shape, bool))
    tiled, repeated = in_tiles(flood, 16, 4, 0)
    assert np.array_equal(tiled, settled_by_key(*flood))
    assert repeated > 50


def test_dense_maps_need_no_flood_twice_where_the_halo_holds_the_cells():
    flood = FLOODS[[name for name, _ in FLOODS].index("network-like, radius 5")][1]
    _, repeated = in_tiles(flood, 64, 48, 0)
    assert repeated == 0


def test_how_often_the_rules_differ_on_maps_like_real_ones():
    labels = balls(1, (300, 300), 150, 9)
    maxima, interior = like_a_network(1, labels)
    markers = label_markers(h_maxima(maxima, 0.075, ball_footprint(2, 2)))
    differing = {}
    for name, height in {
        "float32": interior,
        "bfloat16": bfloat16(interior),
        "saturated": np.minimum(interior * 2, 1),
        "edge distance": edge_distance(labels),
    }.items():
        flood = (height, markers, height > 0.2)
        differing[name] = int((watershed(*flood) != scikit_image(*flood)).sum())
    print(f"pixels of {labels.size} on which the local rule departs: {differing}")
    assert differing["float32"] == 0
    assert all(count < labels.size / 100 for count in differing.values())


def test_an_unknown_tie_rule_is_refused():
    image = np.zeros((3, 3), np.float32)
    with pytest.raises(BadInput, match="tie_rule: expected local or reference, found 'any'"):
        watershed(image, image.astype(int), image > 0, tie_rule="any")


@settings(deadline=None)
@given(floods(), st.booleans(), st.sampled_from(["local", "reference"]))
def test_what_is_reached_and_what_is_not(flood, tied, tie_rule):
    height, markers, mask = flood
    if tied:
        height = coarse(height, 3)
    labels = watershed(height, markers, mask, tie_rule)
    assert labels.dtype == np.int32
    assert not labels[~mask].any()
    assert np.array_equal(labels[mask & (markers > 0)], markers[mask & (markers > 0)])
    rooms, count = ndimage.label(mask)
    for room in range(1, count + 1):
        reached = labels[rooms == room] > 0
        assert reached.all() == reached.any() == markers[rooms == room].any()
    # A label is in one piece with its marker's pixels, of which it has at least one in each piece.
    for owner in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == owner)
        assert set(pieces[(markers == owner) & mask]) == set(range(1, count + 1))
