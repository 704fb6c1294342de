"""Scores of pixel classes: by hand, whatever the bands, pooled as one image would be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellmill.errors import BadInput
from cellmill.metrics import evaluate_classes, match_boundaries, pool_classes

CLASSES = {"background": 1, "nuclear": 2, "micronucleus": 7}
VALUES = np.array([*CLASSES.values()])


def image(seed, shape=(40, 30)):
    return VALUES[np.random.default_rng(seed).integers(3, size=shape)]


def test_confusion_dice_and_iou_are_those_counted_by_hand():
    truth = np.array([[1, 1, 1, 2], [2, 2, 7, 0]])
    found = np.array([[1, 1, 2, 2], [2, 1, 1, 7]])
    scores = evaluate_classes(truth, found, CLASSES)
    assert scores["confusion"] == [[2, 1, 0], [1, 2, 0], [1, 0, 0]]
    assert (scores["pixels"], scores["unlabelled"]) == (7, 1)
    assert scores["accuracy"] == 4 / 7
    nuclear = scores["by_class"]["nuclear"]
    assert (nuclear["dice"], nuclear["iou"]) == (4 / 6, 2 / 4)
    assert (nuclear["precision"], nuclear["recall"]) == (2 / 3, 2 / 3)
    assert scores["by_class"]["micronucleus"]["dice"] == 0
    assert scores["mean_iou"] == pytest.approx((2 / 5 + 2 / 4 + 0) / 3)
    assert nuclear["boundary"] is None  # a pixel has no label


def test_where_0_is_a_class_no_pixel_is_unlabelled():
    truth = np.array([[0, 0, 5]])
    scores = evaluate_classes(truth, truth, {"background": 0, "nuclear": 5})
    assert (scores["unlabelled"], scores["accuracy"], scores["mean_dice"]) == (0, 1, 1)


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, (17, 9), elements=st.sampled_from([1, 2, 7])))
def test_a_class_is_scored_as_the_one_object_would_be(truth):
    found = image(3, truth.shape)
    scores = evaluate_classes(truth, found, CLASSES, boundary_tolerance_px=1)
    for name, value in CLASSES.items():
        mine = match_boundaries(
            (truth == value).astype(int), (found == value).astype(int), tolerance_px=1
        )
        assert scores["by_class"][name]["boundary"] == mine.to_dict()


def test_bands_change_nothing():
    truth, found = image(0, (900, 500)), image(1, (900, 500))
    whole = evaluate_classes(truth, found, CLASSES)
    assert evaluate_classes(truth, found, CLASSES, memory_mib=1) == whole


def test_pooled_images_score_as_their_pixels_together():
    pairs = [(image(k, (40, 30)), image(k + 9, (40, 30))) for k in range(3)]
    results = [evaluate_classes(*pair, CLASSES) for pair in pairs]
    pooled = pool_classes(results)
    one = evaluate_classes(*(np.concatenate(side) for side in zip(*pairs, strict=True)), CLASSES)
    assert pooled["images"] == 3
    for key in ("confusion", "accuracy", "mean_dice", "mean_iou", "pixels"):
        assert pooled[key] == one[key]
    lines = [each["by_class"]["nuclear"]["boundary"]["truth_pixels"] for each in results]
    assert pooled["by_class"]["nuclear"]["boundary"]["truth_pixels"] == sum(lines)


def test_what_is_no_class_is_refused():
    with pytest.raises(BadInput, match="truth: expected classes 1, 2, 7 or 0, found 3"):
        evaluate_classes(np.array([[3]]), np.array([[1]]), CLASSES)
    with pytest.raises(BadInput, match="predicted classes: expected classes 1, 2, 7, found 0"):
        evaluate_classes(np.array([[1]]), np.array([[0]]), CLASSES)
    with pytest.raises(BadInput):
        evaluate_classes(np.ones((2, 2), int), np.ones((2, 3), int), CLASSES)
    with pytest.raises(BadInput, match="at least one"):
        pool_classes([])
    other = evaluate_classes(np.array([[1]]), np.array([[1]]), {"a": 1})
    with pytest.raises(BadInput, match="background, nuclear, micronucleus"):
        pool_classes([evaluate_classes(image(0), image(1), CLASSES), other])
