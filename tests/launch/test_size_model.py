"""`DIAMETER=auto` asks a network's size model in pipelines, and says what a call in Python says."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from launch import ROOT
from launch.images.environments import environment
from tests.segmenter import sized

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sized.save(tmp_path_factory.mktemp("model") / "sized")


@pytest.fixture(scope="module")
def image():
    return sized.discs((300, 420), 20)


@pytest.fixture(scope="module")
def called(model, image):
    """What a call in Python gives, by the engine that the container image `imaging` has."""
    return cellmill.segment(image, model=str(model), diameter="auto", engine="onnxruntime")


def test_a_run_s_labels_and_scale_are_those_of_a_call(model, image, called, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", image)
    given = {"image": tmp_path / "a.tif", "model": model, "output": tmp_path / "run"}
    given |= {"diameter": "auto", "engine": "onnxruntime"}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "launch.run", "deepcell_segmentation", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CELLMILL_SETTINGS": ""},
    )
    assert done.returncode == 0, done.stderr
    assert called.labels["nuclear"].max() == 54
    labels = tifffile.imread(tmp_path / "run" / "labels.tif")
    np.testing.assert_array_equal(labels, called.labels["nuclear"])
    (made,) = (tmp_path / "run" / "artifacts").rglob("preprocess/preprocessed")
    (entry,) = Batch.open(made).entries
    assert entry.attributes["scaling"] == called.facts.scaling
    noted = json.loads((made.parent / "record").read_text())
    assert noted["notes"]["scaling"]["a"]["by"] == "auto"
    assert noted["libraries"]["onnxruntime"]
    assert "s size model (54 found" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("stage", ["preprocess", "plan_slide"])
def test_stages_of_the_image_imaging_find_the_diameter_of_a_call(
    model, image, called, tmp_path, stage
):
    out = "preprocessed" if stage == "preprocess" else "plan"
    with BatchWriter(tmp_path / "images") as batch:
        batch.write("a", {"image": image[..., np.newaxis]}, axes={"image": "YXC"})
    at = {"images": tmp_path / "images", "model": model, out: tmp_path / out}
    flags = [text for name, value in at.items() for text in (f"--{name}", str(value))]
    python = environment("imaging")
    subprocess.run(
        [str(python), "-m", "cellmill", stage, *flags, "--diameter", "auto"],
        check=True,
        cwd=ROOT,
    )
    (entry,) = Batch.open(tmp_path / out).entries
    assert entry.attributes["scaling"] == called.facts.scaling


def test_without_auto_no_engine_is_loaded(model, image, tmp_path):
    with BatchWriter(tmp_path / "images") as batch:
        batch.write("a", {"image": image[..., np.newaxis]}, axes={"image": "YXC"})
    at = {"images": tmp_path / "images", "model": model, "preprocessed": tmp_path / "ready"}
    flags = [text for name, value in at.items() for text in (f"--{name}", str(value))]
    told = ["preprocess", *flags, "--diameter", "20"]
    code = (
        "import sys; from cellmill.contract.cli import main; "
        f"code = main({told!r}); assert 'onnxruntime' not in sys.modules; sys.exit(code)"
    )
    subprocess.run([str(environment("imaging")), "-c", code], check=True, cwd=ROOT)
