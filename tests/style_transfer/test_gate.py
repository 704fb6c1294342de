"""Scores of pixels, and matching of grey values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance
from sklearn.metrics import average_precision_score
from sklearn.metrics import f1_score as reference_f1

from cellmill.style_transfer.gate import Row, average_precision, choose, f1_score
from cellmill.style_transfer.matching import (
    histogram,
    histogram_distance,
    histogram_table,
    mean_and_sd,
    mean_sd_table,
)

COUNTS = arrays(np.int64, 256, elements=st.integers(0, 1000)).filter(lambda c: (c > 0).sum() > 3)


@settings(max_examples=50, deadline=None)
@given(
    truth=arrays(bool, 40).filter(np.any),
    levels=arrays(np.int8, 40, elements=st.integers(0, 12)),
)
def test_scores_are_those_of_scikit_learn(truth, levels):
    probability = levels / 12
    assert average_precision(probability, truth) == pytest.approx(
        average_precision_score(truth, probability)
    )
    assert f1_score(probability >= 0.5, truth) == pytest.approx(
        reference_f1(truth, probability >= 0.5)
    )


@settings(max_examples=30, deadline=None)
@given(source=COUNTS, target=COUNTS)
def test_mean_and_deviation_match(source, target):
    table = mean_sd_table(source, target)
    mean = np.average(table, weights=source)
    sd = np.average((table - mean) ** 2, weights=source) ** 0.5
    assert (mean, sd) == pytest.approx(mean_and_sd(target), rel=1e-3, abs=1e-2)


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, target=COUNTS)
def test_a_matched_histogram_rises_and_of_its_own_changes_nothing(counts, target):
    assert (np.diff(histogram_table(counts, target)) >= 0).all()
    there = counts > 0
    np.testing.assert_allclose(
        histogram_table(counts, counts)[there], np.arange(256)[there], atol=1e-3
    )


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, target=COUNTS)
def test_the_distance_of_histograms_is_scipys(counts, target):
    values = np.arange(256)
    assert histogram_distance(counts, target) == pytest.approx(
        wasserstein_distance(values, values, counts, target), abs=1e-9
    )


def test_deviation_counts_what_lies_between_crops():
    planes = [np.full((4, 4), 10, np.uint8), np.full((4, 4), 30, np.uint8)]
    assert mean_and_sd(histogram(planes)) == (20, 10)


def test_the_best_is_chosen_and_matching_of_equals():
    rows = [
        *(Row("mean and SD", 0.7, 0.9), Row("step 0", 0.7, 0.9, step=0)),
        Row("step 9", 0.6, 0.95, 0.9, 0.9, step=9),
    ]
    assert choose(rows).name == "mean and SD"
    assert choose([*rows, Row("step 20", 0.71, 0.1, step=20)]).step == 20
