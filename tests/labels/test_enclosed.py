"""What objects enclose, against SciPy's filling of holes, one object at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cellmill.labels.cleaned import Cleaned, fill_enclosed_in
from cellmill.labels.enclosed import enclosing, fill_enclosed
from cellmill.labels.holes import outlines
from tests.segmentation.maps import balls

label_images = arrays(
    np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
)

#: Mostly of one object, so that it encloses others.
volumes = arrays(
    np.int32,
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([1, 1, 1, 1, 2, 0]),
)


def slowly(labels):
    """Each object's box is filled by SciPy, in order of ids, boxes being those at the beginning."""
    filled = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            window = filled[box]
            window[ndimage.binary_fill_holes(window == label)] = label
    return filled


def objects_of(labels):
    found = outlines(labels)
    ids = np.flatnonzero(found.areas)
    return ids[ids > 0], found.boxes[ids[ids > 0]]


@given(label_images)
def test_objects_get_what_they_enclose(labels):
    ids, boxes = objects_of(labels)
    filled = labels.copy()
    fill_enclosed(filled, ids, boxes)
    np.testing.assert_array_equal(filled, slowly(labels))


@given(volumes)
def test_objects_of_volumes_get_what_they_enclose(labels):
    found = ndimage.find_objects(labels)
    ids = np.flatnonzero([box is not None for box in found]) + 1
    boxes = np.array([[(s.start, s.stop) for s in found[i - 1]] for i in ids], np.int64).reshape(
        -1, 6
    )
    filled = labels.copy()
    holed = enclosing(labels, ids, boxes)
    fill_enclosed(filled, ids[holed], boxes[holed])
    np.testing.assert_array_equal(filled, slowly(labels))


@given(label_images)
def test_only_those_that_enclose_anything_at_first_need_to_be_filled(labels):
    ids, boxes = objects_of(labels)
    holed = enclosing(labels, ids, boxes)
    filled = labels.copy()
    fill_enclosed(filled, ids[holed], boxes[holed])
    np.testing.assert_array_equal(filled, slowly(labels))


@given(label_images)
def test_the_same_in_an_image_that_is_read_by_windows(labels):
    ids, boxes = objects_of(labels)
    image = Cleaned(labels)
    more = fill_enclosed_in(image, ids, boxes)
    filled = slowly(labels)
    np.testing.assert_array_equal(image[:, :], filled)
    changes = np.bincount(filled.ravel(), minlength=4) - np.bincount(labels.ravel(), minlength=4)
    assert more == {k: change for k, change in enumerate(changes.tolist()) if k and change}


def test_large_objects_with_holes_and_others_in_them():
    labels = balls(1, (300, 320), 40, 20)
    labels[ndimage.uniform_filter(np.random.default_rng(2).random(labels.shape), 3) > 0.66] = 0
    labels[100:180, 90:200] = 50
    labels[120:160, 100:150] = balls(3, (40, 50), 6, 7)
    ids, boxes = objects_of(labels)
    filled, image = labels.copy(), Cleaned(labels)
    fill_enclosed(filled, ids, boxes)
    fill_enclosed_in(image, ids, boxes)
    assert (filled != labels).sum() > 1000
    np.testing.assert_array_equal(filled, slowly(labels))
    np.testing.assert_array_equal(image[:, :], filled)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_what_is_at_the_rim_of_the_box_is_not_enclosed(shape):
    labels = np.ones(shape, np.int32)
    labels[-1, 0] = 0
    ids, boxes = objects_of(labels)
    assert not enclosing(labels, ids, boxes).any()
