"""Compared scores are those that pooling gives; intervals are those of images drawn anew."""

import numpy as np
import pytest

from cellmill.metrics import evaluate, pool
from cellmill.metrics.comparison import SCORE_TITLES, compare_scores
from tests.segmentation.maps import balls


def results(count, moved):
    """Scores of label images that are moved, and of which some objects are lost."""
    found = []
    for seed in range(count):
        truth = balls(seed, (60, 70), 12, 7)
        found.append(evaluate(truth, np.roll(truth, moved, axis=1) * (truth % (2 + seed % 3) > 0)))
    return found


def headline(pooled):
    matching = pooled["matching"]
    return {
        "ap_50": matching[0]["average_precision"],
        "ap_75": matching[5]["average_precision"],
        "mean_ap": pooled["mean_average_precision"],
        "f1_50": matching[0]["f1"],
        "panoptic_quality": pooled["panoptic_quality"],
        "aji": pooled["aji"],
        "boundary_f1": pooled["boundary"]["f1"],
    }


def test_values_are_the_pooled_scores_and_intervals_hold_them():
    given = {"one": results(6, 1), "other": results(6, 3)}
    compared = compare_scores(given)
    for name, each in given.items():
        expected = headline(pool(each)["pooled"])
        assert {*expected} == {*SCORE_TITLES}
        for key, value in expected.items():
            found = compared[name].scores[key]
            assert found.value == pytest.approx(value), key
            assert found.low < found.value < found.high
    assert compared["one"].behind is None
    behind = compared["other"].behind["mean_ap"]
    assert behind.value == pytest.approx(
        compared["one"].scores["mean_ap"].value - compared["other"].scores["mean_ap"].value
    )
    # Drawn together, a difference is surer than the two scores by themselves.
    spread = [s.scores["mean_ap"].high - s.scores["mean_ap"].low for s in compared.values()]
    assert behind.high - behind.low < sum(spread)


def test_draws_are_the_scores_of_images_drawn_anew():
    given = results(4, 2)
    rng = np.random.default_rng(3)
    by_hand = [
        headline(pool([given[i] for i in rng.integers(0, 4, 4)])["pooled"])["ap_50"]
        for _ in range(2000)
    ]
    found = compare_scores({"a": given})["a"].scores["ap_50"]
    ends = np.quantile(by_hand, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(ends, abs=0.03)
    assert compare_scores({"a": given}) == compare_scores({"a": given})


def test_of_one_image_there_is_no_interval_and_nothing_found_scores_as_ever():
    cell, none = np.array([[1, 1, 0]]), np.array([[0, 0, 0]])
    for truth, predicted in ((cell, none), (none, cell), (none, none), (cell, cell)):
        result = evaluate(truth, predicted)
        found = compare_scores({"a": [result]})["a"].scores
        assert {name: each.value for name, each in found.items()} == headline(result)
        assert all(each.low is None and each.high is None for each in found.values())
