"""Numbering, areas, small objects and erosion, against plain loops."""

import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import find_boundaries

from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels, dense_labels
from cellmill.labels.objects import (
    erode_labels,
    object_areas,
    objects_at_border,
    remove_small_objects,
    small_objects,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12)
LABELS = hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 6))
WIDE_LABELS = hnp.arrays(
    st.sampled_from([np.uint8, np.int32, np.uint32, np.int64, np.uint64]),
    SHAPES,
    elements=st.sampled_from([0, 1, 2, 7, 100, 127]),
)


def numbered_one_by_one(labels):
    numbers = {0: 0}
    ids = [numbers.setdefault(int(value), len(numbers)) for value in labels.ravel()]
    return np.array(ids).reshape(labels.shape)


@settings(deadline=None)
@given(WIDE_LABELS)
def test_canonical_ids_count_first_pixels(labels):
    canonical = canonical_labels(labels)
    assert canonical.dtype == np.int32
    assert np.array_equal(canonical, numbered_one_by_one(labels))
    assert np.array_equal(canonical_labels(canonical), canonical)


@settings(deadline=None)
@given(LABELS, st.randoms(use_true_random=False))
def test_canonical_form_is_the_same_whatever_the_ids(labels, random):
    ids = random.sample(range(1, 10**12), 6)
    renamed = np.array([0, *ids])[labels]
    assert np.array_equal(canonical_labels(renamed), canonical_labels(labels))


def test_canonical_ids_across_blocks_of_the_scan(monkeypatch):
    monkeypatch.setattr("cellmill.labels.objects._BLOCK", 7)
    labels = np.random.default_rng(0).integers(0, 40, (31, 17))
    assert np.array_equal(canonical_labels(labels), numbered_one_by_one(labels))


def test_ids_far_above_the_pixel_count():
    labels = np.array([[2**62, 0, 5], [5, 2**40, 2**62]])
    assert canonical_labels(labels).tolist() == [[1, 0, 2], [2, 3, 1]]
    assert canonical_labels(np.full((2, 2), 2**63, np.uint64)).tolist() == [[1, 1], [1, 1]]


def test_labels_may_be_bool_or_empty():
    assert canonical_labels(np.array([[True, False]])).tolist() == [[1, 0]]
    assert canonical_labels(np.zeros((0, 5), np.int64)).shape == (0, 5)
    assert dense_labels(np.zeros((0, 5), np.int64)).shape == (0, 5)


@pytest.mark.parametrize("number", [canonical_labels, dense_labels])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((2, 2)), "labels: expected integers, found float64"),
        (np.array([[-3, 1]]), "labels: expected 0 or more, found -3"),
    ],
)
def test_what_is_no_label_image_is_refused(number, labels, message):
    with pytest.raises(BadInput, match=message):
        number(labels)


@settings(deadline=None)
@given(WIDE_LABELS)
def test_dense_ids_keep_the_order_of_ids(labels):
    dense = dense_labels(labels)
    ids = np.unique(labels[labels > 0])
    assert np.array_equal(dense, np.searchsorted(ids, labels) + (labels > 0))


@settings(deadline=None)
@given(LABELS, st.integers(0, 30))
def test_small_objects_go_by_their_pixel_count(labels, threshold):
    counts = Counter(labels.ravel().tolist())
    expected = np.where([[counts[int(v)] < threshold] for v in labels.ravel()], 0, 1)
    expected = expected.reshape(labels.shape) * labels
    assert np.array_equal(remove_small_objects(labels, threshold), expected)
    assert object_areas(labels).tolist() == [counts[k] for k in sorted(counts) if k]


def test_an_object_of_exactly_the_threshold_stays():
    labels = np.array([[1, 1, 0, 2, 2, 2]])
    assert remove_small_objects(labels, 3).tolist() == [[0, 0, 0, 2, 2, 2]]
    assert remove_small_objects(labels, 2).tolist() == labels.tolist()


def ids_at_border(labels):
    ends = [(0, n - 1) for n in labels.shape]
    places = np.ndindex(labels.shape)
    at = (p for p in places if any(i in end for i, end in zip(p, ends, strict=True)))
    return {int(labels[p]) for p in at} - {0}


@settings(deadline=None)
@given(LABELS, st.integers(0, 9), st.floats(0, 1))
def test_relatively_small_objects_go_by_the_median_of_those_left(labels, threshold, fraction):
    counts = Counter(labels[labels > 0].tolist())
    left = {label: area for label, area in counts.items() if area >= threshold}
    least = fraction * statistics.median(left.values()) if left else 0
    cut = ids_at_border(labels)
    kept = [label for label, area in left.items() if area >= (least / 2 if label in cut else least)]
    found = remove_small_objects(labels, threshold, fraction)
    assert np.array_equal(found, np.where(np.isin(labels, kept), labels, 0))
    assert 2 * len(kept) >= len(left)
    at_border = objects_at_border(labels, 7)
    assert [at_border[label] for label in sorted(counts)] == [
        label in cut for label in sorted(counts)
    ]


def test_what_the_border_cuts_may_be_half_as_large():
    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[2:12, 20:30], labels[20:30, 20:30] = 1, 2, 3
    labels[20:30, :1] = 4
    labels[34:37, 20:24] = 5
    assert np.unique(remove_small_objects(labels, 0, 0.2)).tolist() == [0, 1, 2, 3, 4]
    assert np.unique(remove_small_objects(labels, 10, 0.2)).tolist() == [0, 1, 2, 3, 4]
    assert np.unique(remove_small_objects(labels, 11, 0.2)).tolist() == [0, 1, 2, 3]
    assert np.unique(remove_small_objects(labels, 0, 0.1)).tolist() == [0, 1, 2, 3, 4, 5]


@settings(deadline=None)
@given(LABELS, st.floats(0, 1), st.integers(2, 4))
def test_a_fraction_of_the_median_means_the_same_at_every_scale(labels, fraction, scale):
    large = np.kron(labels, np.ones((scale,) * labels.ndim, labels.dtype))
    small = remove_small_objects(labels, 0, fraction)
    expected = np.kron(small, np.ones((scale,) * labels.ndim, labels.dtype))
    assert np.array_equal(remove_small_objects(large, 0, fraction), expected)


def test_specks_do_not_lower_the_median():
    areas, inside = np.array([1, 1, 1, 1, 24, 50, 60]), np.zeros(7, bool)
    assert small_objects(areas, inside, 5, 0.5).tolist() == [True] * 5 + [False] * 2
    assert not small_objects(areas, inside, 0, 0.5).any()
    assert small_objects(areas, inside, 30, 0.5).tolist() == [True] * 5 + [False] * 2
    assert small_objects(areas[:0], inside[:0], 5, 0.5).tolist() == []


@settings(deadline=None)
@given(LABELS, st.integers(0, 3))
def test_erosion_takes_scikit_image_s_inner_boundary(labels, width):
    expected = labels.copy()
    for _ in range(width):
        expected[find_boundaries(expected, mode="inner")] = 0
    assert np.array_equal(erode_labels(labels, width), expected)


def test_the_image_border_is_not_eroded():
    assert (erode_labels(np.ones((4, 5), np.int32), 3) == 1).all()
