"""A run's folder has each output under its name, and `latest` points to the last run."""

import pytest

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import HTML, Dataset
from cellmill.errors import CellmillError
from launch.runs.collecting import collect, link_latest
from pipelines.outputs import OutputFile

TABLE = (
    OutputFile("labels", "tif", "labels.tif"),
    OutputFile("summary", "", "summary.html"),
    OutputFile("model", "", "model"),
)


def outputs(folder, batches):
    made = []
    for index, names in enumerate(batches):
        with BatchWriter(folder / f"labels{index}") as out:
            for name in names:
                with out.open(name, "tif") as file:
                    file.write(name.encode())
        made.append(Dataset(folder / f"labels{index}"))
    (folder / "page").write_text("<p>")
    (folder / "m" / "variables").mkdir(parents=True)
    (folder / "m" / "variables" / "v").write_text("1")
    return {"labels": made, "summary": HTML(folder / "page"), "model": Dataset(folder / "m")}


def test_files_of_all_batches_go_to_their_images(tmp_path):
    given = outputs(tmp_path / "artifacts", [["a", "b"], ["it's c"]])
    assert collect(given, TABLE, tmp_path / "run") == ["a", "b", "it's c"]
    for name in ("a", "b", "it's c"):
        assert (tmp_path / "run" / name / "labels.tif").read_text() == name
    assert (tmp_path / "run" / "summary.html").read_text() == "<p>"
    assert (tmp_path / "run" / "model" / "variables" / "v").read_text() == "1"
    assert not (tmp_path / "run" / "labels.tif").exists()


def test_files_of_a_single_image_are_reachable_from_the_run(tmp_path):
    collect(outputs(tmp_path / "artifacts", [["a"]]), TABLE, tmp_path / "run")
    assert (tmp_path / "run" / "labels.tif").read_text() == "a"


def test_a_missing_output_is_said(tmp_path):
    given = outputs(tmp_path / "artifacts", [["a"]])
    (tmp_path / "artifacts" / "page").unlink()
    with pytest.raises(CellmillError, match="output 'summary'"):
        collect(given, TABLE, tmp_path / "run")
    del given["summary"]
    with pytest.raises(CellmillError, match="output 'summary'"):
        collect(given, TABLE, tmp_path / "run")


def test_latest_follows_the_last_run(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        link_latest(tmp_path / name)
        assert (tmp_path / "latest").resolve() == (tmp_path / name).resolve()


def test_a_run_that_is_called_latest_stays_a_folder(tmp_path):
    (tmp_path / "latest").mkdir()
    for name in ("latest", "other"):
        link_latest(tmp_path / name)
    assert not (tmp_path / "latest").is_symlink()
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]
