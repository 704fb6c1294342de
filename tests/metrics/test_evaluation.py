"""The whole result: its schema, empty images, and pooling."""

import json

import numpy as np
import pytest

from cellmill.errors import BadInput
from cellmill.metrics import FIELDS, evaluate, pool
from cellmill.metrics.evaluation import SCORES, paths
from tests.arrays.stored import Stored
from tests.labels.made_pairs import random_pairs

EMPTY = np.zeros((12, 12), int)
CELL = np.pad(np.ones((6, 6), int), 3)
NULLABLE = {
    "matching[].mean_matched_iou",
    "panoptic.segmentation_quality",
    "object_errors.deepcell_compat.seg",
}


def scores(result: dict) -> dict[str, list]:
    """Collect the values of the score entries by path."""
    found: dict[str, list] = {}

    def walk(value, path):
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for item in value:
                walk(item, f"{path}[]")
        elif path in SCORES:
            found.setdefault(path, []).append(value)

    walk(result, "")
    return found


def test_the_documented_schema_is_the_schema():
    for truth, predicted in random_pairs(20, 12):
        result = evaluate(truth, predicted)
        assert set(paths(result)) == set(FIELDS)
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert [each["iou_threshold"] for each in result["matching"]] == [
            n / 100 for n in range(50, 100, 5)
        ]


def test_scores_lie_between_0_and_1():
    for truth, predicted in random_pairs(200, 13):
        for path, values in scores(evaluate(truth, predicted)).items():
            for value in values:
                assert (value is None and path in NULLABLE) or 0 <= value <= 1


def test_a_perfect_prediction_scores_1_whatever_its_numbering():
    for truth, _ in random_pairs(20, 14):
        renamed = np.where(truth > 0, 1000 - truth, 0)
        for path, values in scores(evaluate(truth, renamed)).items():
            if path.endswith("deepcell_compat.seg") or not truth.any():
                continue
            assert values == [1.0] * len(values), path


def test_two_empty_images_agree():
    for path, values in scores(evaluate(EMPTY, EMPTY)).items():
        expected = None if path in NULLABLE else 0.0 if "deepcell_compat" in path else 1.0
        assert values == [expected] * len(values), path


@pytest.mark.parametrize(("truth", "predicted"), [(EMPTY, CELL), (CELL, EMPTY)])
def test_one_empty_image_scores_0(truth, predicted):
    for path, values in scores(evaluate(truth, predicted)).items():
        expected = None if path in NULLABLE else 0.0
        assert values == [expected] * len(values), path


def test_a_single_pixel_is_an_image():
    assert evaluate(np.ones((1, 1), np.uint8), np.ones((1, 1), np.uint8))["aji"] == 1


def test_shapes_must_be_equal():
    with pytest.raises(BadInput, match=r"\(12, 12\), found \(11, 12\)"):
        evaluate(EMPTY[1:], EMPTY)


@pytest.mark.parametrize("memory_mib", [0, 0.05, 1024])
def test_windowed_labels_score_as_arrays_do_and_are_read_once(memory_mib):
    for truth, predicted in random_pairs(10, 17):
        stored = Stored(truth), Stored(predicted)
        assert evaluate(*stored, memory_mib=memory_mib) == evaluate(truth, predicted)
        for each in stored:
            assert each.rows() == list(range(len(truth)))


def test_pooled_scores_are_those_of_one_large_image():
    """Side by side with a gap, so that nothing touches across images."""
    images = [tuple(np.pad(part, 8) for part in pair) for pair in random_pairs(6, 15)]
    truths, predictions = [], []
    for index, (truth, predicted) in enumerate(images):
        truths.append(np.where(truth > 0, truth + 100 * index, 0))
        predictions.append(np.where(predicted > 0, predicted + 100 * index, 0))
    whole = evaluate(np.hstack(truths), np.hstack(predictions))
    pooled = pool([evaluate(*pair) for pair in images])["pooled"]
    assert set(paths(pooled)) == set(FIELDS)
    for result in (whole, pooled):  # DeepCell's SEG depends on the numbering of objects
        for name in ("compat_seg_sum", "compat_seg_pairs"):
            del result["object_errors"][name]
        del result["object_errors"]["deepcell_compat"]["seg"]
    assert _flat(pooled) == pytest.approx(_flat(whole))


def test_pooled_scores_equal_stardists_over_a_dataset(stardist_matching):
    images = random_pairs(30, 16)
    mine = pool([evaluate(truth, predicted) for truth, predicted in images])["pooled"]["matching"]
    theirs = stardist_matching.matching_dataset(
        *zip(*images, strict=True), thresh=0.7, show_progress=False
    )
    assert mine[4]["f1"] == pytest.approx(theirs.f1)
    assert mine[4]["mean_matched_iou"] == pytest.approx(theirs.mean_matched_score, rel=1e-6)


def test_per_image_means_leave_null_out():
    mean = pool([evaluate(CELL, CELL), evaluate(CELL, EMPTY)])["per_image_mean"]
    assert mean["matching"][0] == {
        "iou_threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "average_precision": 0.5,
        "mean_matched_iou": 1.0,
    }
    assert (
        pool([evaluate(CELL, EMPTY)])["per_image_mean"]["matching"][0]["mean_matched_iou"] is None
    )


def test_results_that_do_not_go_together_are_refused():
    with pytest.raises(BadInput, match="the results to pool"):
        pool([])
    with pytest.raises(BadInput, match=r"tolerance_px: expected 2\.0 in all of them, found 3\.0"):
        pool([evaluate(CELL, CELL), evaluate(CELL, CELL, boundary_tolerance_px=3)])
    with pytest.raises(BadInput, match="expected an entry 'format', found none"):
        pool([{}])
    for spoil in (
        lambda result: result["panoptic"].pop("tp"),
        lambda result: result["boundary"].pop("f1"),
        lambda result: result["matching"][3].pop("fn"),
        lambda result: result["matching"].clear(),
        lambda result: result["matching"].pop(),
        lambda result: result.update(matching=[1]),
        lambda result: result.update(object_errors=None),
    ):
        spoilt = evaluate(CELL, CELL)
        spoil(spoilt)
        with pytest.raises(BadInput, match=r"result.*(an entry '|thresholds in all)"):
            pool([evaluate(CELL, CELL), spoilt])


def _flat(value, path: str = "") -> dict:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {path: value}
    return {k: v for name, item in items for k, v in _flat(item, f"{path}.{name}").items()}
