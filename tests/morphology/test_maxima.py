"""Markers against the definitions, computed the slow way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import ball, disk

from cellmill.errors import BadInput
from cellmill.morphology.hmaxima import h_maxima
from cellmill.morphology.maxima import ball_footprint, label_markers, local_peaks
from tests.segmentation.maps import permutation

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9)
#: Steps of an eighth are exact in float32, so heights between steps leave no doubt.
STEPPED = hnp.arrays(np.float32, SHAPES, elements=st.integers(0, 12).map(lambda n: n / 8))


def dilated_until_stable(image, h, footprint):
    """The pixels that exceed by h the dilations of `image - h` that stay under `image`."""
    flood = image - h
    while True:
        grown = np.minimum(
            ndimage.maximum_filter(flood, footprint=footprint, mode="nearest"), image
        )
        if np.array_equal(grown, flood):
            return image - flood >= h
        flood = grown


@settings(deadline=None)
@given(STEPPED, st.integers(0, 8), st.integers(1, 3))
def test_h_maxima_are_what_reconstruction_leaves(image, steps, radius):
    h = (steps + 0.5) / 8
    footprint = ball_footprint(radius, image.ndim)
    found = h_maxima(image, h, footprint)
    assert found.dtype == bool
    if h > np.ptp(image):
        assert not found.any()
    else:
        assert np.array_equal(found, dilated_until_stable(image, h, footprint))


@settings(deadline=None)
@given(STEPPED, st.integers(0, 6))
def test_a_higher_h_leaves_fewer_maxima_the_highest_among_them(image, steps):
    lower, higher = (h_maxima(image, (steps + k + 0.5) / 8) for k in (0, 1))
    assert label_markers(higher).max() <= label_markers(lower).max()
    for found in (lower, higher):
        assert not found.any() or found[image == image.max()].all()


@pytest.mark.parametrize("h", [0, -1, float("nan")])
def test_height_must_be_above_zero(h):
    with pytest.raises(BadInput, match="more than 0"):
        h_maxima(np.zeros((3, 3), np.float32), h)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 10])
def test_footprints_are_scikit_image_s(radius):
    assert np.array_equal(ball_footprint(radius, 2), disk(radius))
    assert np.array_equal(ball_footprint(radius, 3), ball(radius))


@given(st.integers(0, 1000), SHAPES, st.integers(1, 4), st.floats(-0.5, 1))
def test_peaks_of_a_map_without_ties_are_the_window_maxima(seed, shape, distance, threshold):
    image = permutation(seed, shape)
    # scikit-image sees a map of one pixel as constant only where it has a neighbour.
    if image.size == 1:
        return
    highest = ndimage.maximum_filter(image, size=2 * distance + 1, mode="nearest") == image
    found = local_peaks(image, distance, threshold)
    assert np.array_equal(found, highest & (image > max(threshold, image.min())))


@settings(deadline=None)
@given(STEPPED, st.integers(1, 4), st.integers(0, 12), st.integers(0, 3))
def test_peaks_are_apart_above_the_threshold_and_off_the_border(image, distance, steps, border):
    found = local_peaks(image, distance, steps / 8, exclude_border=border)
    points = np.argwhere(found)
    assert (image[found] > steps / 8).all()
    for i, point in enumerate(points):
        assert ((point >= border) & (point < np.array(image.shape) - border)).all()
        rest = np.abs(points[i + 1 :] - point).max(axis=1, initial=0)
        assert (rest >= distance).all()


@given(hnp.arrays(bool, SHAPES))
def test_markers_join_over_corners_and_count_in_raster_order(maxima):
    expected = label(maxima, connectivity=maxima.ndim)
    assert np.array_equal(label_markers(maxima), expected)
