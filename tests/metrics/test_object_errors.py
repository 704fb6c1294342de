"""Object errors are DeepCell's; `deepcell_compat` is what DeepCell itself reports."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cellmill.labels.pairs import pair_labels
from cellmill.metrics import object_errors as module
from cellmill.metrics.object_errors import OUTCOMES, classify_errors, outcome_of_each
from cellmill.metrics.pixels import pixel_overlap
from tests.labels.made_pairs import random_pairs


def image(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    labels = np.zeros((40, 60), int)
    for label, (top, bottom, left, right) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = label
    return labels


A, B, C = (0, 10, 0, 10), (0, 10, 10, 20), (0, 10, 20, 30)
CASES = {
    "nothing": ([], [], {}),
    "equal": ([A, B], [A, B], {"correct_detections": 2}),
    "missed": ([A, B], [A], {"correct_detections": 1, "missed_detections": 1}),
    "gained": ([A], [A, B], {"correct_detections": 1, "gained_detections": 1}),
    "too different": (
        [A],
        [(0, 10, 0, 5)],
        {"missed_detections": 1, "gained_detections": 1},
    ),
    "exactly 0.6": (
        [A],
        [(0, 10, 0, 6)],
        {"missed_detections": 1, "gained_detections": 1},
    ),
    "split": ([(0, 10, 0, 20)], [A, B], {"split": 1, "gained_det_from_split": 1}),
    "split in three": (
        [(0, 10, 0, 30)],
        [A, B, C],
        {"split": 1, "gained_det_from_split": 2},
    ),
    "piece cut off": (
        [(0, 10, 0, 20)],
        [(0, 10, 0, 14), (0, 10, 14, 20)],
        {"correct_detections": 1, "gained_detections": 1},
    ),
    "merge": ([A, B], [(0, 10, 0, 20)], {"merge": 1, "missed_det_from_merge": 1}),
    "two specks in one": (
        [(0, 20, 0, 20)],
        [(5, 7, 5, 7), (10, 12, 5, 7)],
        {"split": 1, "gained_det_from_split": 1},
    ),
    "catastrophe": (
        [A, B],
        [(0, 5, 0, 20), (5, 10, 0, 20)],
        {"catastrophe": 1, "true_det_in_catastrophe": 2, "pred_det_in_catastrophe": 2},
    ),
    "catastrophe in a chain": (
        [A, B, C],
        [(0, 10, 5, 15), (0, 10, 15, 25)],
        {"catastrophe": 1, "true_det_in_catastrophe": 3, "pred_det_in_catastrophe": 2},
    ),
}
KINDS = [
    "correct_detections",
    "missed_detections",
    "gained_detections",
    "missed_det_from_merge",
    "gained_det_from_split",
    "true_det_in_catastrophe",
    "pred_det_in_catastrophe",
    "merge",
    "split",
    "catastrophe",
]


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_error_is_told_apart(name):
    truth, predicted, expected = CASES[name]
    found = classify_errors(pair_labels(image(*truth), image(*predicted))).to_dict()
    assert {kind: found[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0) | expected


def test_every_object_is_accounted_for_once():
    for truth, predicted in random_pairs(300, 9):
        found = classify_errors(pair_labels(truth, predicted))
        assert found.n_true == (
            found.correct_detections
            + found.missed_detections
            + found.missed_det_from_merge
            + found.merge
            + found.split
            + found.true_det_in_catastrophe
        )
        assert found.n_pred == (
            found.correct_detections
            + found.gained_detections
            + found.gained_det_from_split
            + found.merge
            + found.split
            + found.pred_det_in_catastrophe
        )


def test_what_became_of_each_object_adds_up_to_the_counts():
    for truth, predicted in random_pairs(100, 8):
        pairs = pair_labels(truth, predicted)
        of_true, of_pred = (np.array(OUTCOMES)[each].tolist() for each in outcome_of_each(pairs))
        counted = classify_errors(pairs)
        assert of_true.count("matched") == of_pred.count("matched") == counted.correct_detections
        assert of_true.count("missed") == counted.missed_detections
        assert of_pred.count("gained") == counted.gained_detections
        assert of_pred.count("merged") == counted.merge
        assert of_true.count("merged") - counted.merge == counted.missed_det_from_merge
        assert of_true.count("split") == counted.split
        assert of_pred.count("split") - counted.split == counted.gained_det_from_split
        assert of_true.count("confused") == counted.true_det_in_catastrophe
        assert of_pred.count("confused") == counted.pred_det_in_catastrophe


def test_a_catastrophe_is_no_correct_detection_but_was_one_for_deepcell():
    truth, predicted, _ = CASES["catastrophe"]
    found = classify_errors(pair_labels(image(*truth), image(*predicted))).to_dict()
    assert (found["precision"], found["recall"], found["f1"]) == (0, 0, 0)
    assert found["deepcell_compat"] == {
        "correct_detections": 1,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "seg": None,
    }


def test_seg_is_the_mean_over_all_true_objects():
    """Maška: 0.9 and 0.7 are covered over half, exactly half is not, and missed counts 0."""
    truth = image(A, (0, 10, 20, 30), (0, 10, 40, 50), (20, 30, 0, 10))
    predicted = image((0, 10, 0, 9), (0, 10, 20, 27), (0, 10, 40, 45))
    found = classify_errors(pair_labels(truth, predicted))
    assert found.seg == pytest.approx((0.9 + 0.7) / 4)
    assert found.compat()["seg"] == pytest.approx(0.9)  # what deepcell 0.12.10 gives


def test_right_values_do_not_depend_on_the_numbering():
    rng = np.random.default_rng(10)
    for truth, predicted in random_pairs(100, 10):
        shuffled = np.concatenate([[0], rng.permutation(10_000) + 1])
        one = classify_errors(pair_labels(truth, predicted)).to_dict()
        other = classify_errors(pair_labels(shuffled[truth], shuffled[predicted])).to_dict()
        for name in (*KINDS, "precision", "recall", "f1"):
            assert one[name] == other[name]
        assert one["seg"] == pytest.approx(other["seg"])


def test_compat_seg_is_left_out_where_deepcell_could_not_run(monkeypatch):
    monkeypatch.setattr(module, "COMPAT_OBJECTS", 1)
    found = classify_errors(pair_labels(image(A), image(A)))
    assert found.seg == 1
    assert found.compat()["seg"] is None


@pytest.mark.deepcell
def test_counts_and_compat_values_are_deepcells_own(deepcell_python, tmp_path):
    padded = [
        (np.pad(truth, ((0, 8), (0, 20))), np.pad(predicted, ((0, 8), (0, 20))))
        for truth, predicted in random_pairs(250, 11)
    ]
    cases = padded + [(image(*truth), image(*predicted)) for truth, predicted, _ in CASES.values()]
    np.savez(
        tmp_path / "stacks.npz",
        truth=np.stack([truth for truth, _ in cases]),
        predicted=np.stack([predicted for _, predicted in cases]),
    )
    oracle = Path(__file__).with_name("deepcell_oracle.py")
    done = subprocess.run(
        [deepcell_python, oracle, tmp_path / "stacks.npz", tmp_path / "results.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert sum(result["catastrophe"] > 0 for result in results) > 10
    assert sum(result["seg"] is not None for result in results) > 30
    for (truth, predicted), theirs in zip(cases, results, strict=True):
        found = classify_errors(pair_labels(truth, predicted)).to_dict()
        mine = found | found["deepcell_compat"]
        for name in (*KINDS, "n_true", "n_pred", "precision", "recall", "f1", "seg"):
            if name != "correct_detections":
                assert mine[name] == pytest.approx(theirs[name], abs=1e-12), name
        assert mine["correct_detections"] == theirs["correct_detections"]
        pixels = pixel_overlap(pair_labels(truth, predicted))
        assert pixels.dice == pytest.approx(theirs["dice"])
        if truth.any() or predicted.any():  # DeepCell divides 0 by 0
            assert pixels.jaccard == pytest.approx(theirs["jaccard"])
