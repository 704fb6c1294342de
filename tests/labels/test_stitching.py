"""Objects of planes that are joined: one at a time, against plain words of the rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels
from cellmill.labels.stitching import stitch_planes
from tests.segmentation.maps import balls


def stitched_plainly(labels, threshold):
    """By the reference's rule: each pair of objects of neighbouring planes, one by one."""
    out = np.zeros(labels.shape, np.int64)
    highest = 0
    for z, plane in enumerate(labels):
        before = out[z - 1] if z else np.zeros_like(out[0])
        ious = {
            (new, old): ((plane == new) & (before == old)).sum()
            / ((plane == new) | (before == old)).sum()
            for new in np.unique(plane[plane > 0])
            for old in np.unique(before[before > 0])
        }
        fits = {pair: iou for pair, iou in ious.items() if iou >= threshold}
        for new in np.unique(plane[plane > 0]):
            found, most = 0, 0.0
            for (one, old), iou in fits.items():
                best = max(other for (_, each), other in fits.items() if each == old)
                if one == new and iou == best and iou > most:
                    found, most = old, iou
            if not found:
                highest += 1
                found = highest
            out[z][plane == new] = found
    return canonical_labels(out)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
@settings(max_examples=25)
def test_objects_are_joined_by_their_overlap(seed, threshold):
    rng = np.random.default_rng(seed)
    whole = balls(seed, (6, 18, 20), 14, 4)
    planes = np.stack([canonical_labels(plane * (rng.random() > 0.2)) for plane in whole])
    # Objects in each of the first two planes, so that the reference compares from there on.
    planes[:2, :2, :2] = planes.max() + 1
    planes[:2] = [canonical_labels(plane) for plane in planes[:2]]
    expected = stitched_plainly(planes, threshold)
    np.testing.assert_array_equal(stitch_planes(planes, threshold, "reference"), expected)
    # What is one by both choices is one by the reference's.
    both = stitch_planes(planes, threshold)
    for z in range(len(planes)):
        assert len(np.unique(both[z])) == len(np.unique(planes[z]))
    pairs = np.unique(np.stack([both.ravel(), expected.ravel()]), axis=1)
    assert len(pairs[0]) == len(np.unique(both))


def test_objects_beyond_an_empty_plane_are_others_but_for_the_reference():
    planes = np.zeros((3, 2, 4), np.int32)
    planes[0, :, :2] = planes[2, :, :2] = 1
    assert stitch_planes(planes, 0.5).max() == 2
    assert stitch_planes(planes, 0.5, "reference").max() == 1


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(BadInput, match="stitch_threshold: expected above 0, up to 1"):
        stitch_planes(np.zeros((2, 3, 3), np.int32), threshold)


def test_labels_are_of_a_volume():
    with pytest.raises(BadInput, match=r"planes to stitch: expected labels \(Y, X\)"):
        stitch_planes(np.zeros((3, 3), np.int32), 0.5)
    with pytest.raises(BadInput, match="expected integers"):
        stitch_planes(np.zeros((2, 3, 3)), 0.5)
    with pytest.raises(BadInput, match="expected at least one, found none"):
        stitch_planes([], 0.5)
