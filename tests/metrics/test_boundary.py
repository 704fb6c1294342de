"""Boundary F counts what a distance transform counts, in any bands."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from cellmill.errors import BadInput
from cellmill.metrics.boundary import match_boundaries
from tests.labels.made_pairs import random_pairs


def outline(labels: np.ndarray) -> np.ndarray:
    padded = np.pad(labels, 1, mode="edge")
    others = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    return (labels > 0) & np.any([labels != other for other in others], axis=0)


def near(line: np.ndarray, other: np.ndarray, tolerance: float) -> int:
    if not other.any():
        return 0
    return np.count_nonzero(line & (distance_transform_edt(~other) <= tolerance))


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 3.7])
@pytest.mark.parametrize("memory_mib", [0, 1024])
def test_counts_equal_those_of_a_distance_transform(tolerance, memory_mib):
    for truth, predicted in random_pairs(40, 8):
        found = match_boundaries(truth, predicted, tolerance_px=tolerance, memory_mib=memory_mib)
        true_line, predicted_line = outline(truth), outline(predicted)
        assert found.truth_pixels == true_line.sum()
        assert found.predicted_pixels == predicted_line.sum()
        assert found.truth_matched == near(true_line, predicted_line, tolerance)
        assert found.predicted_matched == near(predicted_line, true_line, tolerance)


def test_equal_images_score_one_and_the_image_edge_is_no_boundary():
    full = np.ones((5, 5), int)
    assert match_boundaries(full, full).truth_pixels == 0
    assert match_boundaries(full, full).f1 == 1
    half = np.pad(full, ((0, 0), (0, 5)))
    assert match_boundaries(half, half).truth_pixels == 5
    assert match_boundaries(half, half, tolerance_px=0).f1 == 1
    assert match_boundaries(half, np.ones_like(half)).f1 == 0


@pytest.mark.parametrize("tolerance", [-1, 101, float("nan")])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(BadInput, match="the boundary tolerance"):
        match_boundaries(np.ones((2, 2), int), np.ones((2, 2), int), tolerance_px=tolerance)


def test_shapes_must_be_equal():
    with pytest.raises(BadInput, match="shape of the predicted labels"):
        match_boundaries(np.ones((2, 2), int), np.ones((2, 3), int))
