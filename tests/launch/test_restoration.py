"""The pipelines of restoration run for real, small: simulated, and on a volume from a file."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from cellmill.io.tiff.write import write_image
from launch import ROOT
from launch.run import main

VOXEL = (0.3, 0.15, 0.15)
MICROSCOPE = ("--numerical-aperture", "1.0", "--emission-nm", "520", "--immersion-index", "1.33")


def launch(pipeline, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "launch.run", pipeline, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CELLMILL_SETTINGS": ""},
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.pipeline
@pytest.mark.tensorflow
def test_simulated_spheres_come_nearer_to_the_truth(tmp_path):
    run = tmp_path / "run"
    small = ("--depth", 20, "--height", 56, "--width", 60, "--count", 3, "--iterations", 25)
    done = launch("simulated_restoration", *small, "--psf-shape", "21,21,21", "--output", run)
    assert "the volumes are simulated" in done.stdout
    assert "true ones matched" in done.stdout
    (image,) = json.loads((run / "restoration.json").read_text())["images"]
    (channel,) = image["channels"].values()
    errors, objects = channel["rmse"], channel["objects"]
    assert errors["restored"] < errors["as acquired"] / 1.5
    assert errors["restored"] < errors["Richardson-Lucy"]
    assert objects["restored"]["matched"] >= objects["as acquired"]["matched"]
    assert (run / "restoration.html").is_file()
    assert (run / "restoration.png").is_file()
    assert (run / "psf.html").is_file()


@pytest.mark.pipeline
@pytest.mark.tensorflow
def test_a_volume_is_restored_by_many_tasks_and_its_objects_measured(tmp_path):
    random = np.random.default_rng(0)
    objects = np.zeros((9, 150, 170), int)
    for number, (y, x) in enumerate(((30, 40), (60, 120), (110, 70)), 1):
        objects[2:7, y : y + 24, x : x + 24] = number
    volume = random.poisson(60 + 300 * (objects > 0)).astype(np.uint16)
    # Of Z, Y, X and one channel, as every image of a batch.
    with (tmp_path / "stack.tif").open("w+b") as file:
        write_image(file, volume[..., None], ["DAPI"], mpp=VOXEL)
    run = tmp_path / "run"
    given = (
        *MICROSCOPE,
        "--psf-shape",
        "5,7,7",
        "--iterations",
        3,
        "--most-shards",
        3,
        "--background",
        0,
    )
    launch("large_restoration", "--image", tmp_path / "stack.tif", *given, "--output", run)
    restored = tifffile.imread(run / "restored.tif")
    assert restored.shape == volume.shape
    # Light is kept, and noise not smoothed away.
    assert restored.mean() == pytest.approx(volume.mean(), rel=0.02)
    assert restored.std() > 1
    assert (run / "restoration.html").is_file()
    labels = tifffile.imread(run / "labels.tif")
    assert labels.shape == volume.shape
    # Each object is found as one, and nothing else is.
    assert len({labels[4, y + 12, x + 12] for y, x in ((30, 40), (60, 120), (110, 70))} - {0}) == 3
    with (run / "measurements.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == labels.max()
    assert all(float(row["mean_DAPI"]) > 200 for row in rows if float(row["volume_um3"]) > 5)
    assert (run / "report.html").is_file()


def test_images_are_refused_where_the_pipeline_makes_its_own(capsys):
    assert main(["simulated_restoration", "--image", "a.tif"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "cellmill: IMAGE: expected none: this pipeline makes its own images, found a.tif"
    )
