"""Planes segmented one by one: objects go on where planes agree, and only there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.stitching import stitch_planes

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
