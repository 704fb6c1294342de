"""`make run` on a user's files: what is asked for is what is run, and what is wrong is one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as parquet
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.datasets import samples
from cellmill.errors import BadInput
from launch import ROOT
from launch.compiling.compiled import pipeline_names
from launch.run import main
from launch.runs.folders import new_folder, taken_names
from launch.runs.tables import outputs_of
from tests.by_hand import stages


def launch(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "launch.run", "deepcell_segmentation", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Settings of the make that runs the tests are none of this run's.
        env={**os.environ, "CELLMILL_SETTINGS": "", **environ},
    )


def refused(capsys, *arguments):
    """The one line with which settings are refused."""
    assert main(["deepcell_segmentation", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


@pytest.fixture(scope="module")
def sample():
    image, truth = samples.sample_image()
    return tifffile.imread(image), tifffile.imread(truth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample):
    """A folder of images: two with truth, one no image, one a link to nowhere, names of our own."""
    image, truth = sample
    made = tmp_path_factory.mktemp("it's a folder")
    (made / "images").mkdir()
    (made / "truth").mkdir()
    tifffile.imwrite(made / "images" / "a b.tif", image[:256, :300])
    tifffile.imwrite(made / "images" / 'c "d".tif', image[200:456, 100:356].astype(np.float32))
    (made / "images" / "broken.tif").write_bytes(b"II*\0nothing")
    (made / "images" / "lost.tif").symlink_to("/nowhere/lost.tif")
    for name in ("logs", "manifest"):
        tifffile.imwrite(made / "images" / f"{name}.tif", image[:64, :80])
    tifffile.imwrite(made / "truth" / "a b_mask.tif", truth[:256, :300].astype(np.uint16))
    tifffile.imwrite(made / "truth" / 'c "d".tif', truth[200:456, 100:356].astype(np.uint16))
    return made


@pytest.mark.pipeline
def test_a_folder_runs_and_a_bad_image_is_left_out(folder, tmp_path):
    run = tmp_path / "the run"
    done = launch(
        *("--image", folder / "images", "--truth", folder / "truth"),
        *("--output", run, "--on-bad-image", "skip", "--mpp", "0.5", "--label-dtype", "uint16"),
    )
    assert done.returncode == 0, done.stderr
    assert "broken: left out" in done.stdout
    assert json.loads((run / "run.json").read_text())["status"] == "succeeded"
    summary = json.loads((run / "summary.json").read_text())
    status = {image["name"]: image["status"] for image in summary["images"]}
    whole = dict.fromkeys(("a b", 'c "d"', "logs.tif", "manifest.tif"), "ok")
    assert status == {**whole, "broken": "skipped", "lost": "skipped"}
    errors = {image["name"]: image["error"] for image in summary["images"]}
    assert "a link to '/nowhere/lost.tif', where nothing is" in errors["lost"]
    truth = summary["images"][0]["truth"]
    assert truth["source"] == str(folder / "truth" / "a b_mask.tif")
    assert truth["pairing"] == "the file name without '_mask'"
    assert truth["kind"] == "labels"
    assert "truth of 1 image, by the file name without '_mask'" in done.stderr
    assert "truth: none for 4 images" in done.stderr
    assert list((run / "logs").glob("*.log"))
    assert (run / "logs.tif" / "labels.tif").is_file()
    for name in ("a b", 'c "d"'):
        made = run / name
        with tifffile.TiffFile(made / "labels.tif") as tiff:
            labels = tiff.asarray()
            assert tiff.is_ome
            assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata
        assert labels.dtype == np.uint16
        table = parquet.read_table(made / "measurements.parquet")
        np.testing.assert_array_equal(table["label"], np.arange(1, labels.max() + 1))
        areas = np.bincount(labels.ravel())[1:]
        np.testing.assert_array_equal(table["area_px"], areas)
        np.testing.assert_allclose(table["area_um2"], areas * 0.25)
        assert {p.name for p in made.iterdir()} == {
            "labels.tif",
            "overlay.png",
            "measurements.csv",
            "measurements.parquet",
            "metrics.json",
            "report.html",
        }
    assert not (run / "broken").exists()
    # The same stages by hand, in this interpreter's environment, find the same cells.
    assert stages(tmp_path, folder / "images" / "a b.tif", mpp=0.5) == 0
    batch = Batch.open(tmp_path / "labels")
    by_hand = batch.read(batch.entry("a b"), "nuclear")
    np.testing.assert_array_equal(by_hand, tifffile.imread(run / "a b" / "labels.tif"))


@pytest.mark.pipeline
def test_a_bad_image_fails_the_run_with_its_one_line(folder, tmp_path):
    done = launch("--image", folder / "images" / "broken.tif", "--output", tmp_path / "run")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("cellmill: stage 'tiff_to_npz' failed: ")
    assert "broken.tif" in line
    assert "log: " in line
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert not list((tmp_path / "run").rglob("labels.tif"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--image", "/no/such.tif"], "/no/such.tif"),
        (["--truth", "x.tif"], "TRUTH"),
        (["--mpp", "wide"], "MPP: expected a number, found 'wide'"),
        (["--batch-size", "2.5"], "BATCH_SIZE: expected a whole number"),
        (["--nonsense", "1"], "--nonsense"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(arguments, expected, tmp_path, capsys):
    assert expected in refused(capsys, *arguments, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("pipeline", ["training", "tuning"])
def test_what_learns_from_truth_asks_for_it(pipeline, folder, capsys):
    for arguments, missing in (([], "IMAGES"), (["--image", str(folder / "images")], "LABELS")):
        assert main([pipeline, *arguments]) == 2
        assert f"{missing}: expected" in capsys.readouterr().err


def test_an_output_that_is_not_empty_is_refused(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert "a new or an empty folder" in refused(capsys, "--output", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_output_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "OUTPUT" in refused(capsys, "--output", tmp_path / "file" / "run")


def test_a_pipeline_that_is_not_there_is_refused(capsys):
    assert main(["nothing"]) == 2
    assert "deepcell_segmentation" in capsys.readouterr().err


def test_what_a_failed_run_left_makes_room(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "run.json").write_text('{"status": "failed"}')
    missing = refused(capsys, "--output", tmp_path, "--image", tmp_path / "none.tif")
    assert "none.tif" in missing
    (tmp_path / "mine.txt").write_text("keep")
    assert "a new or an empty folder" in refused(capsys, "--output", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_run_left_makes_room_even_if_it_was_filling_the_folder(tmp_path):
    about = {"status": "running", "pipeline": "deepcell_segmentation", "images": [{"name": "a b"}]}
    for name in ("artifacts/deep/er", "logs", "a b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a b" / "labels.tif").write_text("half")
    (tmp_path / "labels.tif").symlink_to("a b/labels.tif")
    (tmp_path / "summary.html").write_text("old")
    (tmp_path / "run.json").write_text(json.dumps(about))
    with new_folder(str(tmp_path), []) as made:
        assert made.path == tmp_path
        assert [p.name for p in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("status", ["running", "failed", "succeeded", "submitted"])
def test_what_is_no_run_s_own_is_never_removed(tmp_path, status):
    about = {"status": status, "pipeline": "deepcell_segmentation", "images": [{"name": "../x"}]}
    kept = tmp_path / "x"
    kept.write_text("keep")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match=r"OUTPUT|image name"), new_folder(str(folder), []):
        pass
    assert kept.read_text() == "keep"
    assert (folder / "run.json").exists()


def test_a_link_to_nowhere_is_one_line(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "ok.tif", np.zeros((9, 9), np.uint8))
    (tmp_path / "lost.tif").symlink_to("/nowhere/lost.tif")
    line = refused(capsys, "--image", tmp_path)
    assert "lost.tif': expected a file, found a link to '/nowhere/lost.tif', where nothing" in line


def test_no_image_has_a_name_of_the_runs_own():
    for pipeline in pipeline_names():
        taken = taken_names(pipeline)
        assert {"run.json", "job.json", "artifacts", "logs", "pipeline.vertex.yaml"} <= taken
        assert {row.name for row in outputs_of(pipeline)} <= taken


def test_a_setting_that_is_none_is_refused_with_the_likely_one(monkeypatch, capsys):
    monkeypatch.setenv("CELLMILL_SETTINGS", "IMGE")
    assert "setting IMGE: expected IMAGE" in refused(capsys, "--make")


def test_a_setting_of_another_pipeline_is_said_to_be_that(monkeypatch, capsys):
    monkeypatch.setenv("CELLMILL_SETTINGS", "VOXEL_UM")
    line = refused(capsys, "--make")
    assert "setting VOXEL_UM: expected a setting of deepcell_segmentation" in line
    assert "found one of simulated_restoration" in line


def test_make_hands_settings_on_whole(tmp_path):
    done = launch("--make", IMAGE=str(tmp_path / 'it\'s "none".tif'))
    assert done.returncode == 2
    assert 'it\'s "none".tif' in done.stderr
