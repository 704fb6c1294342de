"""The sparse table of overlaps equals a dense count and adds up over tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellmill.errors import BadInput
from cellmill.labels import grouping
from cellmill.labels.pairs import LabelPairs, add_pairs, pair_labels
from tests.labels.made_pairs import random_pairs

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
TWO_IMAGES = SHAPES.flatmap(
    lambda shape: st.tuples(
        *[arrays.arrays(np.int32, shape, elements=st.integers(0, 4)) for _ in range(2)]
    )
)


def assert_equal(one: LabelPairs, other: LabelPairs) -> None:
    for side in ("truth", "predicted"):
        for name in ("labels", "areas", "boxes"):
            mine, theirs = (getattr(getattr(table, side), name) for table in (one, other))
            np.testing.assert_array_equal(mine, theirs)
    for name in ("truth_index", "predicted_index", "overlaps", "pixels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(deadline=None)  # compiles
@given(TWO_IMAGES)
def test_the_table_equals_a_dense_count(images):
    truth, predicted = images
    table = pair_labels(truth, predicted)
    dense = np.zeros((5, 5), int)
    np.add.at(dense, (truth.ravel(), predicted.ravel()), 1)
    rows = table.truth.labels[table.truth_index], table.predicted.labels[table.predicted_index]
    again = np.zeros((4, 4), int)
    again[rows[0] - 1, rows[1] - 1] = table.overlaps
    np.testing.assert_array_equal(again, dense[1:, 1:])
    areas = dense.sum(axis=1)
    np.testing.assert_array_equal(table.truth.labels, np.flatnonzero(areas[1:]) + 1)
    np.testing.assert_array_equal(table.truth.areas, areas[1:][areas[1:] > 0])
    assert table.background_pixels == areas[0]
    for label, box in zip(table.predicted.labels, table.predicted.boxes, strict=True):
        y, x = np.nonzero(predicted == label)
        assert box.tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]


@settings(deadline=None)  # compiles
@given(TWO_IMAGES, st.integers(0, 9), st.integers(0, 9), st.permutations(range(4)))
def test_tables_of_tiles_add_up_in_any_order(images, cut_y, cut_x, order):
    truth, predicted = images
    y, x = min(cut_y, truth.shape[0]), min(cut_x, truth.shape[1])
    corners = [(0, y, 0, x), (0, y, x, None), (y, None, 0, x), (y, None, x, None)]
    tiles = [
        pair_labels(
            truth[top:bottom, left:right], predicted[top:bottom, left:right], origin=(top, left)
        )
        for top, bottom, left, right in corners
    ]
    assert_equal(add_pairs(tiles[index] for index in order), pair_labels(truth, predicted))


@pytest.mark.parametrize("memory_mib", [0, 0.01])
def test_bands_change_nothing(memory_mib, monkeypatch):
    monkeypatch.setattr(grouping, "_MANY", 5)
    for truth, predicted in random_pairs(20, 1):
        whole = pair_labels(truth, predicted)
        assert_equal(pair_labels(truth, predicted, memory_mib=memory_mib), whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_any_integer_dtype_will_do(dtype):
    labels = np.array([[1, 0, 2]], dtype)
    assert pair_labels(labels, labels.astype(np.int16)).overlaps.tolist() == [1, 1]


def test_labels_may_be_far_apart_and_huge():
    truth = np.array([[2**62, 2**62, 7, 0]])
    predicted = np.array([[2**61, 3, 3, 2**62 + 1]])
    table = pair_labels(truth, predicted)
    assert table.truth.labels.tolist() == [7, 2**62]
    assert table.overlaps.tolist() == [1, 1, 1]


def test_many_objects_need_no_matrix():
    truth = np.arange(1, 1_000_001).reshape(1000, 1000)
    table = pair_labels(truth, truth[::-1].copy())
    assert len(table) == 1_000_000  # a dense matrix would hold 10¹² numbers


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_images_without_pixels_have_no_objects(shape):
    table = pair_labels(np.zeros(shape, int), np.zeros(shape, int))
    assert len(table.truth) == len(table) == table.pixels == 0


@pytest.mark.parametrize(
    ("truth", "predicted", "line"),
    [
        (np.zeros((3, 4), int), np.zeros((4, 3), int), r"shape of the predicted labels, \(4, 3\)"),
        (np.zeros((3, 4)), np.zeros((3, 4), int), "true labels: expected integers.*float64"),
        (np.zeros((3, 4), int), np.zeros((3, 4), bool), "predicted labels.*found bool"),
        (np.zeros((3, 4, 1, 1), int), np.zeros((3, 4, 1, 1), int), r"expected an array \(Y, X\)"),
        (np.full((3, 4), -1), np.zeros((3, 4), int), "true labels.*found -1"),
        (np.zeros((1, 1), int), np.full((1, 1), 2**63, np.uint64), "found 9223372036854775808"),
    ],
)
def test_what_is_no_pair_of_label_images_is_refused(truth, predicted, line):
    with pytest.raises(BadInput, match=line):
        pair_labels(truth, predicted)
