"""Planes segmented one by one: objects go on where planes agree, and only there."""

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellmill.errors import BadInput
from cellmill.labels.numbering import CanonicalNumbers, canonical_labels
from cellmill.labels.stitching import stitch_planes
from cellmill.segmentation.labelling import label_in_memory, label_planes
from cellmill.segmentation.methods import recipe_of
from tests.segmentation.maps import balls, like_a_network, watershed_of

planes = arrays(np.int32, (4, 5, 6), elements=st.integers(0, 3))


@given(planes, st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_planes_keep_their_objects(volume, threshold):
    """Stitching joins objects of different planes, never two of one, and moves no pixel."""
    stitched = stitch_planes(list(volume), threshold)
    for plane, joined in zip(volume, stitched, strict=True):
        assert np.array_equal(canonical_labels(plane), canonical_labels(joined))
    assert np.array_equal(stitched, canonical_labels(stitched))
    for label in np.unique(stitched)[1:]:
        depths = np.flatnonzero((stitched == label).any(axis=(1, 2)))
        assert np.array_equal(depths, np.arange(depths[0], depths[-1] + 1))
        for z in depths[:-1]:
            upper, lower = stitched[z] == label, stitched[z + 1] == label
            assert (upper & lower).sum() / (upper | lower).sum() >= threshold


def test_of_one_plane_the_labels_are_its_own():
    plane = np.array([[0, 5, 5], [2, 0, 0]])
    assert stitch_planes([plane]).tolist() == [[[0, 1, 1], [2, 0, 0]]]


def test_an_object_that_splits_goes_on_in_its_larger_part():
    upper = np.array([[1, 1, 1, 1, 1, 1]])
    lower = np.array([[1, 1, 1, 1, 0, 2]])
    assert stitch_planes([upper, lower], 0.1).tolist() == [[[1] * 6], [[1, 1, 1, 1, 0, 2]]]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_is_an_intersection_over_union(threshold):
    with pytest.raises(BadInput, match="stitch_threshold"):
        stitch_planes([np.zeros((2, 2), int)], threshold)


@given(planes, st.integers(1, 4))
def test_numbers_of_parts_are_those_of_the_whole(volume, step):
    numbers = CanonicalNumbers()
    parts = [numbers.of(volume[z : z + step]) for z in range(0, len(volume), step)]
    whole = canonical_labels(volume)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert numbers.count == whole.max()


RECIPES = {
    kind: recipe_of(
        watershed_of(f"{kind}_maxima", f"{kind}_interior"),
        {f"{kind}_maxima": 1, f"{kind}_interior": 1},
    )
    for kind in ("nuclear", "whole_cell")
}


def heads_of(seed, shape):
    """What a network of planes could have given for balls of two kinds."""
    heads = {}
    for k, kind in enumerate(RECIPES):
        maxima, interior = like_a_network(seed + k, balls(seed + k, shape, 14, 7))
        heads |= {f"{kind}_maxima": maxima[..., None], f"{kind}_interior": interior[..., None]}
    return heads


@contextlib.contextmanager
def filled(found, layouts):
    found |= {name: np.zeros(shape, dtype) for name, (shape, dtype, _) in layouts.items()}
    yield found


@given(
    st.integers(0, 1000),
    st.sampled_from([None, (5, 31, 52), (5, 90, 47), (9, 40, 44), (3, 40, 44)]),
    st.sampled_from([0.1, 0.25, 0.9]),
    st.sampled_from(["canonical", "reference"]),
)
@settings(max_examples=8)
def test_plane_by_plane_the_labels_are_those_in_memory(seed, shape, threshold, numbering):
    heads = heads_of(seed, (5, 40, 44))
    about = {"numbering": numbering, "stitch": threshold}
    expected, said = label_in_memory(heads, RECIPES, shape, **about)
    found = {}
    facts = label_planes(heads, RECIPES, lambda layouts: filled(found, layouts), shape, **about)
    assert facts == said
    assert sum(each.objects for each in facts.values()) > 0
    for name, labels in expected.items():
        assert found[name].dtype == labels.dtype
        np.testing.assert_array_equal(found[name], labels)


def test_predictions_of_another_kind_of_image_are_refused():
    with pytest.raises(BadInput, match="predictions: expected those of an image"):
        label_planes(heads_of(0, (2, 20, 20)), RECIPES, None, (20, 20), stitch=0.5)


class Forgotten:
    """Takes what is written to it, and keeps nothing but the highest value."""

    def __init__(self, shape):
        self.shape, self.highest = shape, 0

    def __setitem__(self, window, values):
        self.highest = max(self.highest, int(values.max()))


def test_what_is_held_does_not_grow_with_the_depth():
    """Objects that go on through all planes: only what is held of planes could grow."""
    plane = heads_of(0, (1, 96, 96))

    def peak(depth):
        heads = {name: np.broadcast_to(h, (depth, *h.shape[1:])) for name, h in plane.items()}
        made = {name: Forgotten((depth, 80, 110)) for name in RECIPES}
        tracemalloc.start()
        try:
            label_planes(heads, RECIPES, lambda _: contextlib.nullcontext(made), stitch=0.25)
            highest = [each.highest for each in made.values()]
            return tracemalloc.get_traced_memory()[1], highest
        finally:
            tracemalloc.stop()

    peak(2)
    (low, few), (high, many) = peak(3), peak(30)
    assert few == many
    assert min(few) > 0
    # How work runs side by side differs by less than these planes; 27 more are not held.
    assert high < low + 8 * 96 * 96 * 4
