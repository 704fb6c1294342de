"""Container tasks run without containers, each in its image's environment; failures are told."""

import json
import os
import threading
import time

import numpy as np
import pytest
import tifffile
from kfp import compiler, dsl

from cellmill.arrays.batch import Batch
from cellmill.arrays.entries import STORES_VARIABLE
from cellmill.arrays.lease import LAUNCHER_VARIABLE, RUN_VARIABLE
from components.tiff_to_npz.component import tiff_to_npz
from launch.local import task_handler
from launch.local.running import RunFailed, run_pipeline

PLACEHOLDER = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER
IMAGE = "localhost/cellmill-imaging:0"


def container(code):
    """A task of code that stands where a stage would, with the same kind of command."""

    @dsl.container_component
    def task(out: dsl.Output[dsl.Dataset]) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=IMAGE,
            command=["python", "-c", code],
            args=["stand_in", "--executor-input", PLACEHOLDER],
        )

    return task


def compiled(tmp_path, task, **arguments):
    @dsl.pipeline(name="one-task")
    def pipeline():
        task(**arguments)

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path


def run(tmp_path, spec, **arguments):
    return run_pipeline(spec, arguments, tmp_path / "artifacts", tmp_path / "logs")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "it's an image.tif"
    tifffile.imwrite(path, np.arange(64, dtype=np.uint16).reshape(8, 8))
    return path


def test_a_stage_runs_in_a_loop_and_its_outputs_come_back(tmp_path, image):
    @dsl.pipeline(name="loop")
    def pipeline(batches: list[list[str]]) -> list[dsl.Dataset]:
        with dsl.ParallelFor(batches) as items:
            task = tiff_to_npz(items=items)
        return dsl.Collected(task.outputs["images"])

    spec = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(spec))
    outputs = run(tmp_path, spec, batches=[[str(image)], [str(image), str(image)]])
    sizes = [len(Batch.open(a.path).entries) for a in outputs["Output"]]
    assert sizes == [1, 2]
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == [
        "tiff_to_npz-1.log",
        "tiff_to_npz-2.log",
    ]


def test_bad_input_is_the_stages_one_line_its_log_and_exit_code_2(tmp_path):
    missing = tmp_path / "none.tif"
    spec = compiled(tmp_path, tiff_to_npz, items=[str(missing)])
    with pytest.raises(RunFailed) as caught:
        run(tmp_path, spec)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert "\n" not in text
    assert "stage 'tiff_to_npz' failed" in text
    assert "none.tif" in text
    assert "tiff_to_npz.log" in text


def test_a_crash_is_exit_code_1_and_its_traceback_is_in_the_log(tmp_path):
    spec = compiled(tmp_path, container("1/0"))
    with pytest.raises(RunFailed, match="ZeroDivisionError") as caught:
        run(tmp_path, spec)
    assert caught.value.exit_code == 1
    assert "Traceback" in (tmp_path / "logs" / "stand_in.log").read_text()


def test_a_declared_output_that_is_missing_fails_the_run(tmp_path):
    spec = compiled(tmp_path, container("pass"))
    with pytest.raises(RunFailed, match="declared output 'out' was not written"):
        run(tmp_path, spec)


def test_a_task_does_not_see_the_packages_of_another(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "intruder.py").write_text("")
    code = (
        "import importlib.util, sys\n"
        "sys.exit(any(importlib.util.find_spec(name) for name in ('intruder', 'kfp')))"
    )
    spec = compiled(tmp_path, container(code))
    with pytest.raises(RunFailed, match="declared output"):
        run(tmp_path, spec)


def test_a_task_is_told_its_run_and_where_stores_may_lie(tmp_path):
    note = tmp_path / "told"
    code = f"import json, os; json.dump(dict(os.environ), open({str(note)!r}, 'w'))"

    @dsl.pipeline(name="with-a-store")
    def pipeline(store: str):
        container(code)()

    spec = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(spec))
    with pytest.raises(RunFailed, match="declared output"):
        run(tmp_path, spec, store="gs://bucket/store")
    told = json.loads(note.read_text())
    assert told[STORES_VARIABLE].splitlines() == [f"{tmp_path}/artifacts", "gs://bucket/store"]
    assert told[RUN_VARIABLE].startswith(f"{tmp_path.name}-")
    assert json.loads(told[LAUNCHER_VARIABLE])["pid"] == os.getpid()


def test_stopping_ends_the_task_that_runs(tmp_path, monkeypatch):
    spec = compiled(tmp_path, container("import time; time.sleep(60)"))
    made = []
    original = task_handler.LocalRun

    def keep(*arguments):
        made.append(original(*arguments))
        return made[0]

    monkeypatch.setattr("launch.local.running.LocalRun", keep)

    def stop():
        while not (made and made[0]._processes):
            time.sleep(0.05)
        made[0].stop()

    threading.Thread(target=stop).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, spec)
    assert time.monotonic() - begun < 30


def test_the_seam_in_kfp_is_where_it_was():
    task_handler.check_seam()


def test_a_moved_seam_is_said(monkeypatch):
    monkeypatch.delattr(task_handler.subprocess_task_handler, "SubprocessTaskHandler")
    with pytest.raises(RuntimeError, match=r"task_handler\.py must follow"):
        task_handler.check_seam()


def seen_by(stage):
    """The variables that a task of a stage starts with."""
    task = task_handler.Task(IMAGE, stage, ["python", "-m", "cellmill", stage], {}, {})
    return task_handler.in_environment(task).environ


def test_the_token_is_seen_by_the_stage_that_downloads_alone(monkeypatch):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "secret")
    assert seen_by("fetch_model")["DEEPCELL_ACCESS_TOKEN"] == "secret"
    for stage in ("tiff_to_npz", "preprocess", "predict", "predict_shard", "train_segmenter"):
        assert "secret" not in seen_by(stage).values()


def test_a_network_sees_what_computing_needs_and_no_more(monkeypatch):
    for key in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OMP_NUM_THREADS", "CELLMILL_THREADS"):
        monkeypatch.setenv(key, "1")
    for stage, of_buckets in (
        ("predict", False),
        ("predict_shard", True),
        ("transfer_style", True),
    ):
        seen = seen_by(stage)
        assert {"PATH", "HOME", "OMP_NUM_THREADS", "CELLMILL_THREADS"} <= set(seen)
        assert "GITHUB_TOKEN" not in seen
        assert ("AWS_SECRET_ACCESS_KEY" in seen) == of_buckets
    assert "GITHUB_TOKEN" in seen_by("tiff_to_npz")
