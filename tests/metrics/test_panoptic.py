"""Panoptic quality is Kirillov's equation and stardist's value."""

import numpy as np
import pytest

from cellmill.labels.pairs import pair_labels
from cellmill.metrics.panoptic import count_panoptic
from tests.labels.made_pairs import random_pairs


def test_panoptic_quality_equals_stardist_above_one_half(stardist_matching):
    for truth, predicted in random_pairs(200, 5):
        found = count_panoptic(pair_labels(truth, predicted))
        theirs = stardist_matching.matching(truth, predicted, thresh=0.5 + 1e-6)
        assert (found.tp, found.fp, found.fn) == (theirs.tp, theirs.fp, theirs.fn)
        if not found.both_empty:
            assert found.panoptic_quality == pytest.approx(theirs.panoptic_quality, rel=1e-6)
        if found.tp:
            product = found.segmentation_quality * found.recognition_quality
            assert found.panoptic_quality == pytest.approx(product)


def test_a_pair_of_exactly_one_half_does_not_match():
    found = count_panoptic(pair_labels(np.array([[1, 1]]), np.array([[1, 0]])))
    assert (found.tp, found.panoptic_quality, found.segmentation_quality) == (0, 0.0, None)
