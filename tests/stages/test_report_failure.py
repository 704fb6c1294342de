"""How a run ended, said from what the platform tells and what failed tasks left."""

import json
from pathlib import Path

import pytest

from cellmill.contract.runtime import FAILURE_FILE, run_executor_input
from cellmill.contract.spec import StageSpec
from cellmill.errors import BadInput

FAILED = {"state": "FAILED", "error": {"code": 9, "message": "The failed tasks are:\n[predict]."}}


def executor_input(folder, outputs, **parameters):
    artifacts = {n: {"artifacts": [{"uri": str(folder / n), "name": n}]} for n in outputs}
    return json.dumps(
        {
            "inputs": {"parameterValues": parameters},
            "outputs": {
                "outputFile": str(folder / "executor_output.json"),
                "artifacts": artifacts,
            },
        }
    )


def reported(run, status):
    """What an exit handler's task says in a run's folder."""
    folder = run / "report-failure_1"
    folder.mkdir(exist_ok=True)
    spec = StageSpec.load("report_failure")
    text = executor_input(folder, ("report", "record"), status=status, pipeline="mine")
    run_executor_input(spec, text)
    assert "report" in json.loads((folder / "executor_output.json").read_text())["artifacts"]
    return (folder / "report").read_text()


def failing(run, task):
    """Fail a task on Vertex AI's kind of folder: one beside the others of its run."""
    folder = run / task
    folder.mkdir()
    items = [{"image": str(run / "a|b <i>.tif"), "truth": "", "name": "a", "digest": ""}]
    spec = StageSpec.load("tiff_to_npz")
    outputs = ("images", "truth", "record")
    with pytest.raises(BadInput):
        run_executor_input(spec, executor_input(folder, outputs, items=items))
    return folder


def test_a_failed_run_names_task_stage_and_line(tmp_path):
    folder = failing(tmp_path, "tiff-to-npz_42")
    assert json.loads((folder / FAILURE_FILE).read_text())["stage"] == "tiff_to_npz"
    text = reported(tmp_path, FAILED)
    assert text.startswith("# mine: failed\n\nThe failed tasks are: [predict].\n")
    (row,) = [line for line in text.splitlines() if "tiff-to-npz_42" in line]
    assert row.startswith("| tiff-to-npz_42 | tiff_to_npz | ")
    assert "a\\|b &lt;i>.tif" in row
    assert "expected" in row
    assert "nothing there" in row


def test_a_failure_that_left_nothing_is_told_from_the_platform(tmp_path):
    text = reported(tmp_path, FAILED)
    assert "[predict]" in text
    assert "the log of the task" in text


def test_a_task_that_did_better_the_second_time_is_none_that_failed(tmp_path):
    folder = failing(tmp_path, "fetch-model_7")
    spec = StageSpec.load("fetch_model")
    run_executor_input(spec, executor_input(folder, ("model", "record")))
    assert not (folder / FAILURE_FILE).exists()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"state": "SUCCEEDED", "error": {}}, "# mine: succeeded\n"),
        ({"state": "RUNNING"}, "does not say how the tasks ended"),
        ({}, "# mine: unknown"),
    ],
)
def test_other_ends_are_told_as_they_are(tmp_path, status, says):
    assert says in reported(tmp_path, status)
    failing(tmp_path, "x_1")
    assert ("x_1" in reported(tmp_path, status)) == (status.get("state") != "SUCCEEDED")


def test_a_crash_is_told_with_its_kind(tmp_path, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(Path, "rglob", crash)
    spec = StageSpec.load("fetch_model")
    with pytest.raises(ZeroDivisionError):
        run_executor_input(
            spec,
            executor_input(
                tmp_path, ("model", "record"), source=str(tmp_path), digest="sha256:" + "0" * 64
            ),
        )
    said = json.loads((tmp_path / FAILURE_FILE).read_text())
    assert said == {"stage": "fetch_model", "message": "ZeroDivisionError: a"}
