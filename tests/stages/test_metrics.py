"""The metrics stage: always runs, pairs truth by name and by compartment, pools."""

import json

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import Dataset, Metrics, Record
from cellmill.contract.runtime import METADATA_LIMIT
from cellmill.errors import BadInput
from cellmill.metrics import evaluate, pool
from cellmill.stages.metrics import metrics

CELLS = np.kron(np.arange(6, dtype=np.int32).reshape(2, 3), np.ones((8, 8), np.int32))
SHIFTED = np.roll(CELLS, 2, axis=1)


def write(folder, entries):
    with BatchWriter(folder) as out:
        for name, arrays in entries.items():
            axes = {key: "YXC"[: array.ndim] for key, array in arrays.items()}
            out.write(name, arrays, axes=axes)


def run(tmp_path, labels, truth, **parameters):
    write(tmp_path / "labels", labels)
    write(tmp_path / "truth", truth)
    artifact = Metrics(tmp_path / "metrics.json")
    scores = Dataset(tmp_path / "scores")
    metrics(
        Dataset(tmp_path / "labels"),
        Dataset(tmp_path / "truth"),
        artifact,
        scores,
        Record(tmp_path / "record.json"),
        **parameters,
    )
    assert len(json.dumps(artifact.metadata)) <= METADATA_LIMIT
    batch = Batch.open(scores.path)
    documents = {
        entry.name: json.loads(batch.file(entry, "json").read_text())
        for entry in batch.entries
        if entry.ok
    }
    return documents, artifact, json.loads(artifact.path.read_text())


def test_scores_are_the_sciences_and_images_without_truth_say_so(tmp_path, capsys):
    documents, artifact, whole = run(
        tmp_path,
        {"a": {"nuclear": SHIFTED}, "b": {"nuclear": CELLS}, "c": {"nuclear": CELLS}},
        {"c": {}, "b": {"labels": CELLS}, "a": {"labels": CELLS}},
    )
    one, other = evaluate(CELLS, SHIFTED), evaluate(CELLS, CELLS)
    assert documents["a"] == {"image": "a", "truth": True, "nuclear": one}
    assert documents["c"] == {"image": "c", "truth": False, "note": "no truth"}
    assert whole == {"images": 3, "images_with_truth": 2, "nuclear": pool([one, other])}
    assert artifact.metadata["f1_50"] == 1.0
    assert artifact.metadata["panoptic"] == round(
        pool([one, other])["pooled"]["panoptic_quality"], 4
    )
    assert "no truth" not in capsys.readouterr().err


def test_a_batch_without_any_truth_is_no_failure(tmp_path, capsys):
    _, artifact, whole = run(tmp_path, {"a": {"nuclear": CELLS}}, {"a": {}})
    assert artifact.metadata == {"images": 1, "images_with_truth": 0, "note": "no truth"}
    assert whole["note"] == "no truth"
    assert "no truth" in capsys.readouterr().err


def test_two_planes_of_truth_are_whole_cells_then_nuclei(tmp_path):
    both = {"whole_cell": SHIFTED, "nuclear": CELLS}
    documents, artifact, _ = run(
        tmp_path, {"a": both, "b": {"nuclear": CELLS}}, {key: {"labels": planes()} for key in "ab"}
    )
    assert documents["a"]["whole_cell"] == evaluate(CELLS, SHIFTED)
    assert documents["a"]["nuclear"] == evaluate(SHIFTED, CELLS)
    assert documents["b"]["nuclear"] == evaluate(SHIFTED, CELLS)
    assert artifact.metadata["whole_cell_true"] == 5


def planes():
    return np.stack([CELLS, SHIFTED], axis=-1)


def test_one_plane_of_truth_is_scored_against_what_is_segmented_or_what_it_is_said_to_show(
    tmp_path,
):
    both = {"a": {"whole_cell": SHIFTED, "nuclear": CELLS}}
    documents, _, _ = run(tmp_path, both, {"a": {"labels": CELLS}})
    assert set(documents["a"]) == {"image", "truth", "whole_cell", "nuclear"}
    documents, _, _ = run(tmp_path, both, {"a": {"labels": CELLS}}, truth_compartment="whole-cell")
    assert set(documents["a"]) == {"image", "truth", "whole_cell"}
    with pytest.raises(
        BadInput, match=r"--truth-compartment: expected .*whole-cell, found 'nuclear'"
    ):
        run(
            tmp_path,
            {"a": {"whole_cell": CELLS}},
            {"a": {"labels": CELLS}},
            truth_compartment="nuclear",
        )


def test_too_little_memory_is_refused(tmp_path):
    with pytest.raises(BadInput, match="memory_mib: expected 64 MiB or more, found 8"):
        run(tmp_path, {"a": {"nuclear": CELLS}}, {"a": {"labels": CELLS}}, memory_mib=8)


def test_another_segmentation_may_be_the_truth(tmp_path):
    documents, _, _ = run(tmp_path, {"mine": {"nuclear": SHIFTED}}, {"theirs": {"nuclear": CELLS}})
    assert documents["mine"]["nuclear"] == evaluate(CELLS, SHIFTED)


def test_truth_of_another_shape_fails_or_is_skipped(tmp_path):
    labels = {"a": {"nuclear": CELLS}, "b": {"nuclear": CELLS}}
    truth = {"a": {"labels": CELLS[1:]}, "b": {"labels": CELLS}}
    with pytest.raises(BadInput, match=r"image 'a', the true labels: expected .*\(16, 24\), found"):
        run(tmp_path, labels, truth)
    documents, artifact, _ = run(tmp_path, labels, truth, on_bad_image="skip")
    assert list(documents) == ["b"]
    assert artifact.metadata["images_with_truth"] == 1


@pytest.mark.parametrize(
    ("labels", "truth", "line"),
    [
        ({"labels": CELLS}, {"labels": CELLS}, "labels of image 'a': expected .* found labels"),
        ({"nuclear": CELLS}, {"mask": CELLS}, "expected an array 'labels', found mask"),
        (
            {"nuclear": CELLS},
            {"labels": np.stack([CELLS] * 3, axis=-1)},
            "truth of image 'a': expected one plane, or two: .* found 3",
        ),
        ({"nuclear": CELLS}, {"labels": CELLS * 1.5}, "the true labels: expected integers"),
    ],
)
def test_bad_input_is_named(tmp_path, labels, truth, line):
    with pytest.raises(BadInput, match=line):
        run(tmp_path, {"a": labels}, {"a": truth})
