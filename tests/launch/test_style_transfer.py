"""The pipelines of style transfer: a tiny one run for real; what is missing is one line."""

import json
import os
import subprocess
import sys

import pytest

from cellmill.models.card import ModelCard
from cellmill.style_transfer.volumes import open_volume
from launch import ROOT
from launch.run import main

TINY = {
    "volume-shape": "8,100,104",
    "steps": 1,
    "checkpoint-every": 1,
    "task-steps": 20,
    "crop": 96,
    "width": 2,
    "batch-size": 1,
    "block": 52,
}


@pytest.mark.pipeline
@pytest.mark.tensorflow
def test_simulated_volumes_are_learnt_from_and_transferred_in_shards(tmp_path):
    run = tmp_path / "run"
    flags = [f"--{name}={value}" for name, value in TINY.items()]
    done = subprocess.run(
        [sys.executable, "-m", "launch.run", "simulated_style_transfer", *flags, "--output", run],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CELLMILL_SETTINGS": ""},
    )
    assert done.returncode == 0, done.stderr
    gate = json.loads((run / "gate.json").read_text())
    assert f"{gate['chosen']['name']} was taken; F1 in held-out X, on planes" in done.stdout
    matched = [row["f1"] for row in gate["gate"] if row["name"] in ("mean and SD", "histogram")]
    ahead = [row["f1"] for row in gate["gate"] if (row["least_lead"] or 0) > 0]
    assert gate["chosen"]["f1"] == max(ahead or matched)
    assert ModelCard.load(run / "model").training["chosen"] == gate["chosen"]
    assert "Gate" in (run / "style-transfer.html").read_text()
    said = json.loads((run / "transfer" / "volume.json").read_text())
    assert (said["blocks"], said["shards"]) == (4, 2)
    made = open_volume(f"{run}/volume/volume.zarr")
    assert made.shape == (8, 100, 104)
    assert (made[...] != open_volume(said["source"])[...]).mean() > 0.5
    assert "Neuroglancer" in (run / "transfer.html").read_text()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("style_transfer", "--volume", "v"), "MODEL: expected Network by path or URI"),
        (("style_transfer_training", "--x", "v"), "Y: expected Path or URI of the target volume"),
        (
            ("style_transfer_training", "--x", "a b@2", "--y", "c", "--x-boxes", "1,2"),
            "X_BOXES: expected 2, one for each volume ('-' for none), found 1",
        ),
        (
            ("style_transfer_training", "--x", "a", "--y", "b", "--depth", "3"),
            "CROP: expected a multiple of 8 from 208 at depth 3, found 108",
        ),
        (
            ("style_transfer_training", "--x", "a", "--y", "b", "--planes", "q"),
            "PLANES: expected z, y, x or zyx, found 'q'",
        ),
        (
            ("style_transfer", "--image", "a.tif"),
            "IMAGE: expected none: this pipeline takes MODEL, VOLUME, found a.tif",
        ),
    ],
)
def test_what_is_missing_is_one_line(capsys, given, line):
    assert main(list(given)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
