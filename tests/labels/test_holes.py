"""What counts as a hole, and what else the reference's rule takes in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import euler_number, regionprops

from cellmill.errors import BadInput
from cellmill.labels.holes import fill_holes

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 3)
)


def one_by_one(labels, size):
    """The same rule from scikit-image's and scipy's functions."""
    filled = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or euler_number(labels[box] == label, connectivity=2) >= 1:
            continue
        window = filled[box]
        pieces, _ = ndimage.label(window != label)
        small = np.bincount(pieces.ravel()) < size
        small[0] = False
        window[small[pieces]] = label
    return filled


@settings(deadline=None, max_examples=300)
@given(LABELS, st.integers(0, 20))
def test_it_is_what_scikit_image_s_pieces_give(labels, size):
    expected = one_by_one(labels, size) if size > 1 else labels
    assert np.array_equal(fill_holes(labels, size), expected)


def test_many_objects_with_many_holes_over_bands_of_rows():
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((30, 30), int)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.05] = 0
    filled = fill_holes(labels, 15)
    assert (filled != labels).sum() > 1000
    assert np.array_equal(filled, one_by_one(labels, 15))


def ring(hole, label=1):
    """An object with one hole of that shape, a pixel thick, in a wider field."""
    labels = np.zeros((hole[0] + 6, hole[1] + 6), np.int32)
    labels[2:-2, 2:-2] = label
    labels[3:-3, 3:-3] = 0
    return labels


def test_fourteen_pixels_are_filled_fifteen_are_not():
    assert (fill_holes(ring((2, 7)), 15)[2:-2, 2:-2] == 1).all()
    assert np.array_equal(fill_holes(ring((3, 5)), 15), ring((3, 5)))
    assert (fill_holes(ring((3, 5)), 16)[2:-2, 2:-2] == 1).all()


def test_a_notch_is_filled_only_where_there_is_a_hole_too():
    notched = ring((2, 2), label=4)
    notched[2, 2] = 0
    assert fill_holes(notched, 15)[2, 2] == 4
    solid = notched.copy()
    solid[3:-3, 3:-3] = 4
    assert fill_holes(solid, 15)[2, 2] == 0


def test_a_neighbour_within_a_hole_or_notch_is_overwritten():
    labels = ring((2, 2), label=2)
    labels[3, 3] = 1
    labels[2, 2] = 3
    assert set(np.unique(fill_holes(labels, 15))) == {0, 2}


def test_more_pieces_than_holes_are_left_alone():
    labels = np.hstack([ring((1, 1)), ring((1, 1))])
    labels[3, 10] = 1
    assert np.array_equal(fill_holes(labels, 15), labels)


@given(LABELS, st.integers(0, 20))
def test_what_changes_lies_in_the_box_of_an_object_with_holes(labels, size):
    filled = fill_holes(labels, size)
    changed = filled != labels
    allowed = np.zeros_like(changed)
    for region in regionprops(labels):
        if region.euler_number < 1:
            allowed[region.slice] = True
    assert not (changed & ~allowed).any()
    assert set(np.unique(filled)) <= set(np.unique(labels))


@given(LABELS.map(lambda labels: np.minimum(labels, 1)), st.integers(2, 20))
def test_one_object_alone_only_grows_and_keeps_no_small_hole(labels, size):
    filled = fill_holes(labels, size)
    assert (filled[labels > 0] == 1).all()
    regions = regionprops(labels)
    if regions and regions[0].euler_number < 1:
        pieces, count = ndimage.label(filled[regions[0].slice] == 0)
        assert all(np.bincount(pieces.ravel(), minlength=count + 1)[1:] >= size)


@given(LABELS)
def test_no_piece_has_fewer_than_one_pixel(labels):
    assert np.array_equal(fill_holes(labels, 1), labels)


def test_a_volume_is_refused():
    with pytest.raises(BadInput, match=r"expected \(Y, X\), found 3-D"):
        fill_holes(np.zeros((2, 3, 4), np.int32), 15)
