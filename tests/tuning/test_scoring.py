"""Scores of many points at once are those of each point segmented and scored by itself."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellmill.errors import BadInput
from cellmill.labels.resizing import resize_labels
from cellmill.metrics import IOU_THRESHOLDS, evaluate, pool
from cellmill.segmentation.deep_watershed import WatershedParameters, segment_maps
from cellmill.segmentation.interface import Maps
from cellmill.segmentation.methods import find_method
from cellmill.tuning.scores import (
    OBJECTIVES,
    Scores,
    best_point,
    group_of,
    held_out,
    objective_values,
)
from cellmill.tuning.scoring import score_points
from tests.segmentation.maps import balls, like_a_network

METHOD = find_method("deep_watershed")
POINTS = st.builds(
    WatershedParameters,
    radius=st.sampled_from([1, 2]),
    maxima_threshold=st.sampled_from([0.05, 0.2, 0.4]),
    maxima_smooth=st.sampled_from([0, 1.0]),
    interior_threshold=st.sampled_from([0.1, 0.3, 0.9]),
    interior_smooth=st.sampled_from([0, 1.5]),
    small_objects_threshold=st.sampled_from([0, 15]),
    small_objects_fraction=st.sampled_from([0, 0.3, 0.8]),
    fill_holes_threshold=st.sampled_from([0, 15]),
    label_erosion=st.sampled_from([0, 0, 1]),
    pixel_expansion=st.sampled_from([0, 0, 1]),
    maxima_algorithm=st.sampled_from(["h_maxima", "h_maxima", "peak_local_max"]),
)


def image(seed, shape=(60, 70)):
    truth = balls(seed, shape, 14, 7)
    return *like_a_network(seed, truth), truth


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 50),
    points=st.lists(POINTS, min_size=1, max_size=12),
    zoom=st.sampled_from([1, 1, 2]),
)
def test_scores_are_those_of_every_point_by_itself(seed, points, zoom):
    maxima, interior, truth = image(seed)
    truth = np.kron(truth, np.ones((zoom, zoom), np.int32))
    found = score_points(METHOD, Maps.of(maxima=maxima, interior=interior), truth, points)
    assert len(found) == len(points)
    for i, point in enumerate(points):
        labels = segment_maps(maxima, interior, point)
        alone = evaluate(truth, resize_labels(labels, truth.shape))
        assert found.matched[i].tolist() == [each["tp"] for each in alone["matching"]]
        assert (found.true, found.predicted[i]) == (alone["n_truth"], alone["n_predicted"])
        assert OBJECTIVES["mean_ap"](found)[i] == pytest.approx(alone["mean_average_precision"])
        assert OBJECTIVES["panoptic_quality"](found)[i] == pytest.approx(alone["panoptic_quality"])


def test_objectives_pool_as_metrics_do():
    point = WatershedParameters(radius=2, maxima_threshold=0.1, interior_threshold=0.2)
    alone, results = [], []
    for seed in range(3):
        maxima, interior, truth = image(seed)
        alone.append(
            score_points(METHOD, Maps.of(maxima=maxima, interior=interior), truth, [point])
        )
        results.append(evaluate(truth, segment_maps(maxima, interior, point)))
    pooled, scores = pool(results)["pooled"], Scores.added(alone)
    matching = {round(each["iou_threshold"], 2): each for each in pooled["matching"]}
    assert OBJECTIVES["ap_50"](scores)[0] == pytest.approx(matching[0.5]["average_precision"])
    assert OBJECTIVES["ap_70"](scores)[0] == pytest.approx(matching[0.7]["average_precision"])
    assert OBJECTIVES["f1_50"](scores)[0] == pytest.approx(matching[0.5]["f1"])
    assert OBJECTIVES["panoptic_quality"](scores)[0] == pytest.approx(pooled["panoptic_quality"])
    to_90 = [each["average_precision"] for iou, each in matching.items() if iou <= 0.9]
    assert len(to_90) == 9
    assert OBJECTIVES["ap_50_90"](scores)[0] == pytest.approx(np.mean(to_90))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_found_where_nothing_is_counts_as_right(objective):
    blank = np.zeros((20, 30), np.float32)
    flat = Maps.of(maxima=blank, interior=blank)
    point = WatershedParameters(radius=1, maxima_threshold=0.1)
    nothing = score_points(METHOD, flat, blank.astype(np.int32), [point])
    assert OBJECTIVES[objective](nothing)[0] == 1
    missed = score_points(METHOD, flat, np.ones((20, 30), np.int32), [point])
    assert OBJECTIVES[objective](missed)[0] == 0


@pytest.mark.parametrize("which", [0, 1])
def test_maps_that_are_not_finite_are_refused(which):
    maps = [np.zeros((9, 9), np.float32), np.zeros((9, 9), np.float32)]
    maps[which][2, 3] = np.nan
    given = Maps.of(maxima=maps[0], interior=maps[1])
    with pytest.raises(BadInput, match="maxima map" if which == 0 else "interior map"):
        score_points(METHOD, given, np.zeros((9, 9), np.int32), [WatershedParameters()])


def scores(matched, predicted=10, true=10):
    """Scores of points that match so many pairs at every threshold."""
    tp = np.array(matched)
    every = np.repeat(tp[:, None], len(IOU_THRESHOLDS), axis=1)
    return Scores(every, np.full(len(tp), predicted), true, tp, tp * 0.8)


def test_of_equal_points_the_first_is_best_and_none_that_may_not_be():
    values = np.array([0.5, 0.7, 0.7, 0.9])
    assert best_point(values, np.array([True, True, True, True])) == 3
    assert best_point(values, np.array([True, True, True, False])) == 1
    assert best_point(np.full(4, 0.5), np.array([True] * 4)) == 0


def test_groups_weigh_the_same_whatever_their_size():
    groups = {"a": scores([10, 5]), "b": scores([500, 1000], 1000, 1000)}
    pooled = Scores.added(groups.values())
    assert objective_values({"": pooled}, "ap_50")[1] > objective_values({"": pooled}, "ap_50")[0]
    values = objective_values(groups, "f1_50")
    assert values.tolist() == pytest.approx([(1 + 0.5) / 2, (0.5 + 1) / 2])


def test_a_held_out_group_takes_no_part_in_its_choice():
    groups = {"a": scores([2, 9, 3]), "b": scores([2, 3, 8]), "c": scores([2, 4, 7])}
    found = held_out(groups, "f1_50", np.array([True] * 3), default=0)
    assert {name: each.chosen for name, each in found.items()} == {"a": 2, "b": 1, "c": 1}
    assert [each.value for each in found.values()] == pytest.approx([0.3, 0.3, 0.4])
    assert [each.default for each in found.values()] == pytest.approx([0.2] * 3)
    changed = groups | {"a": scores([9, 0, 0])}
    assert held_out(changed, "f1_50", np.array([True] * 3), 0)["a"].chosen == 2
    assert held_out({"a": groups["a"]}, "f1_50", np.array([True] * 3), 0) == {}


def test_an_image_belongs_to_the_first_pattern_it_fits():
    assert group_of("x", []) == ""
    assert group_of("2022_RPE1_3", ["*U2OS*", "*RPE1*", "*"]) == "*RPE1*"
    with pytest.raises(BadInput, match="image_groups: expected a pattern that 'misc' fits"):
        group_of("misc", ["*U2OS*"])


def test_scores_do_not_depend_on_threads():
    maxima, interior, truth = image(3)
    points = [
        replace(WatershedParameters(radius=2), maxima_threshold=h, interior_threshold=t)
        for h, t in itertools.product([0.05, 0.1, 0.3], [0.1, 0.4])
    ]
    one, two = (
        score_points(METHOD, Maps.of(maxima=maxima, interior=interior), truth, points, n)
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one.matched, two.matched)
    np.testing.assert_array_equal(one.iou_sum, two.iou_sum)
