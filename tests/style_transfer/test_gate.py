"""Scores of pixels, and matching of grey values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance
from sklearn.metrics import average_precision_score
from sklearn.metrics import f1_score as reference_f1

from cellmill.style_transfer.gate import (
    Row,
    Scored,
    average_precision,
    choose,
    f1_score,
    in_squares,
)
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


PLANES = arrays(bool, (2, 50, 31))


@settings(max_examples=20, deadline=None)
@given(found=PLANES, truth=PLANES)
def test_squares_hold_every_pixel_once(found, truth):
    squares = in_squares(found, truth)
    assert squares.shape == (2 * 3 * 2, 3)
    both, seen, true = squares.sum(0)
    assert (both, seen, true) == ((found & truth).sum(), found.sum(), truth.sum())
    total = seen + true
    assert f1_score(found, truth) == pytest.approx(2 * both / total if total else 1.0)


def scored(name, errors, *, step=-1, count=40):
    """Squares of 100 true pixels, so many of which are not found."""
    squares = [(100 - wrong, 100 - wrong, 100) for wrong in np.resize(errors, count)]
    both, found, true = np.sum(squares, 0)
    return Scored(Row(name, 2 * both / (found + true), step=step), np.array(squares))


def test_a_checkpoint_is_taken_if_it_leads_in_more_than_some_squares():
    matched = [scored("mean and SD", [40]), scored("histogram", [30])]
    better = scored("step 20", [20, 25], step=20)
    # Better by far in two squares, and otherwise a little worse.
    lucky = scored("step 30", [31] * 38 + [0, 0], step=30)
    best, rows = choose(matched, [lucky])
    assert best.name == "histogram"
    assert rows[0].lead > 0 > rows[0].least_lead
    best, rows = choose(matched, [lucky, better])
    assert best.step == 20
    assert 0 < best.least_lead < best.lead == best.f1 - matched[1].row.f1
    # What equals matching is no better.
    same = scored("step 0", [30], step=0)
    assert choose(matched, [same])[0].name == "histogram"


def test_of_checkpoints_that_are_as_good_as_matching_few_are_taken():
    """Eight of them, each of which errs elsewhere: the best of them leads by chance."""
    taken = leading = 0
    for seed in range(100):
        errors = np.random.default_rng(seed).integers(10, 40, (9, 40))
        matched, *learnt = (scored(f"{n}", each, step=n - 1) for n, each in enumerate(errors))
        best, rows = choose([matched], learnt)
        taken += best.step >= 0
        leading += max(row.lead for row in rows) > 0
    assert leading > 80
    assert taken <= 15
