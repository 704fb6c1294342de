"""Cellpose's own training gives a model that the other stages can use, and weights of Cellpose."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cellmill.arrays.batch_writer import BatchWriter
from cellmill.io.uris import digest
from cellmill.models.card import ModelCard
from cellmill.models.importing.frameworks import framework_of
from cellmill.segmentation.methods import check_card
from tests.conformance.conformance_model import run

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "tests" / "models" / "importing" / "write_cellpose.py"
SIDE = 96


def write_batches(folder, names, channels=1):
    y, x = np.mgrid[:SIDE, :SIDE]
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "truth") as truth:
        for seed, name in enumerate(names):
            random = np.random.default_rng(seed)
            labels = np.zeros((SIDE, SIDE), np.int32)
            for i, row in enumerate(range(14, SIDE, 24)):
                for j, column in enumerate(range(14, SIDE, 24)):
                    near = np.hypot(y - row - random.integers(3), x - column) < 8
                    labels[near] = 4 * i + j + 1
            image = 100 + 900 * (labels > 0) + random.normal(0, 30, labels.shape)
            stack = np.repeat(image.clip(0).astype(np.uint16)[..., np.newaxis], channels, -1)
            images.write(name, {"image": stack}, axes={"image": "YXC"}, mpp=(0.5, 0.5))
            truth.write(name, {"labels": labels}, axes={"labels": "YX"})


def stage(python, folder, *arguments, output="model"):
    return subprocess.run(
        [
            *(str(python), "-m", "cellmill", "train_cellpose"),
            *("--images", str(folder / "images"), "--labels", str(folder / "truth")),
            *("--model", str(folder / output), "--metrics", str(folder / f"{output}.json")),
            *("--weights", str(folder / f"{output}-weights")),
            *("--record", str(folder / f"{output}-record.json")),
            *("--batch-size", "1", *arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def folder(cellpose_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches, and narrow networks in Cellpose's own files."""
    folder = tmp_path_factory.mktemp("train_cellpose")
    run(cellpose_python, WRITER, folder)
    write_batches(folder, ["a", "b", "c"])
    return folder


@pytest.mark.cellpose
def test_model_card_metrics_and_weights_of_cellposes_own(folder, cellpose_python):
    told = ("--steps", "4", "--validate-every", "2", "--validation", "c", "--seed", "3")
    base = ("--base", str(folder / "nuclei_tiny"), "--learning-rate", "0.005")
    done = stage(cellpose_python, folder, *told, *base, "--name", "mine", "--licence", "CC0-1.0")
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(folder / "model")
    check_card(card)
    assert (card.name, card.licence, card.compartments) == ("mine", "CC0-1.0", ("nuclear",))
    assert [channel.name for channel in card.input.channels] == ["nuclear"]
    assert card.imported.framework == "cellpose3 3.1.1.3"
    assert card.imported.largest_difference <= 1e-5
    # Discs of 16 px at 0.5 µm, which the network is shown at its own 17 px.
    assert card.input.object_diameter == {"nuclear": 17.0}
    assert card.input.object_diameter_um == {"nuclear": pytest.approx(8, abs=0.5)}
    training = card.training
    assert (training["images"], training["validation"]) == (["a", "b"], ["c"])
    assert (training["base"], training["parameters"]["seed"]) == ("nuclei_tiny", 3)
    assert training["base_file"] == digest(str(folder / "nuclei_tiny"))
    assert [look["step"] for look in training["curve"]] == [0, 3, 4]
    metrics = json.loads((folder / "model.json").read_text())
    assert metrics["validation"]["objects"] == 16
    assert metrics == {**card.accuracy, "curve": training["curve"], "best_step": 4}
    assert {*card.accuracy} == {"validation", "validation_before"}
    # What Cellpose wrote is what was brought in, and what a next training may go on from.
    assert framework_of(folder / "model-weights").name == "cellpose3"
    assert digest(str(folder / "model-weights")) == card.imported.source != training["base_file"]


@pytest.mark.cellpose
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--base", "{}/images"), "expected Cellpose 3: a file of weights"),
        (("--base", "{}/nuclei_tiny", "--base-digest", "sha256:0"), "expected sha256:0"),
        (("--compartment", "both"), "compartment: expected one kind of object"),
        (("--validation", "z"), "validation: expected names of some"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(folder, cellpose_python, arguments, says):
    arguments = [each.format(folder) for each in arguments]
    done = stage(cellpose_python, folder, *arguments, output="none")
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert not (folder / "none" / "model.json").exists()
    assert not (folder / "none-weights").exists()
