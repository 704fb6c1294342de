"""Matching equals stardist's and cellpose's, at exact thresholds and exact halves too."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cellmill.errors import BadInput
from cellmill.labels.pairs import pair_labels
from cellmill.metrics.matching import IOU_THRESHOLDS, match, match_all, matched_rows
from tests.labels.made_pairs import random_pairs

ALL = (0.1, 0.25, 0.4, *IOU_THRESHOLDS, 1.0)


def test_matching_equals_stardist(stardist_matching):
    for truth, predicted in random_pairs(300, 2):
        pairs = pair_labels(truth, predicted)
        for mine in match_all(pairs, ALL):
            theirs = stardist_matching.matching(truth, predicted, thresh=mine.iou_threshold)
            assert (mine.tp, mine.fp, mine.fn) == (theirs.tp, theirs.fp, theirs.fn)
            # Below 0.5 stardist also weighs pairs that do not match, so its sum may be smaller.
            lowest = theirs.mean_matched_score * (1 - 1e-6)
            assert (mine.mean_matched_iou or 0.0) >= lowest
            if mine.iou_threshold >= 0.5:
                assert (mine.mean_matched_iou or 0.0) == pytest.approx(lowest, rel=1e-5)
            if mine.both_empty:
                assert mine.f1 == 1  # stardist says 0
                continue
            assert mine.precision == pytest.approx(theirs.precision)
            assert mine.recall == pytest.approx(theirs.recall)
            assert mine.f1 == pytest.approx(theirs.f1)
            assert mine.average_precision == pytest.approx(theirs.accuracy)


def test_matching_equals_cellpose(cellpose_metrics):
    for truth, predicted in random_pairs(200, 3):
        if not truth.any() and not predicted.any():
            continue  # cellpose divides 0 by 0
        mine = match_all(pair_labels(truth, predicted))
        precision, tp, fp, fn = cellpose_metrics.average_precision(
            truth, predicted, threshold=list(IOU_THRESHOLDS)
        )
        assert [each.tp for each in mine] == tp.tolist()
        assert [each.fp for each in mine] == fp.tolist()
        assert [each.fn for each in mine] == fn.tolist()
        np.testing.assert_allclose([m.average_precision for m in mine], precision, rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.33, 0.5])
def test_contested_pairs_are_assigned_as_well_as_a_dense_assignment_can(threshold):
    for truth, predicted in random_pairs(200, 4):
        pairs = pair_labels(truth, predicted)
        rows = matched_rows(pairs, threshold)
        assert len(set(pairs.truth_index[rows])) == len(set(pairs.predicted_index[rows]))
        assert len(set(pairs.truth_index[rows])) == len(rows)
        gain = np.zeros((len(pairs.truth), len(pairs.predicted)))
        ious = np.where(pairs.ious >= threshold, pairs.ious, -1)
        gain[pairs.truth_index, pairs.predicted_index] = np.where(ious > 0, 1e3 + ious, 0)
        best = gain[linear_sum_assignment(gain, maximize=True)]
        assert len(rows) == np.count_nonzero(best)
        assert pairs.ious[rows].sum() == pytest.approx((best[best > 0] - 1e3).sum())


def test_an_object_cut_into_exact_halves_matches_one_of_them():
    found = match(pair_labels(np.full((2, 8), 1), np.repeat([[1], [2]], 8, axis=1)), 0.5)
    assert (found.tp, found.fp, found.fn, found.mean_matched_iou) == (1, 1, 0, 0.5)


@pytest.mark.parametrize("threshold", IOU_THRESHOLDS)
def test_a_pair_exactly_on_the_threshold_matches(threshold):
    truth = np.ones((1, 20), int)
    predicted = (np.arange(20) < round(20 * threshold)).astype(int)[None]
    assert match(pair_labels(truth, predicted), threshold).tp == 1
    predicted[0, np.flatnonzero(predicted)[-1]] = 0
    assert match(pair_labels(truth, predicted), threshold).tp == 0


def test_thresholds_are_the_decimal_numbers_themselves():
    assert tuple(float(f"0.{n}") for n in range(50, 100, 5)) == IOU_THRESHOLDS


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(BadInput, match="the IoU threshold"):
        match(pair_labels(np.ones((1, 1), int), np.ones((1, 1), int)), threshold)
