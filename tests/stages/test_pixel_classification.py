"""The stages that teach a pixel classifier and run it, on the sample with scribbles of 2 %."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.datasets import scribbles as making
from cellmill.metrics import evaluate
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.classifier import PixelClassifier
from tests.stages.by_command import classify, stage

#: AP at IoU 0.5 of the shipped network on the sample, by `make evaluate-model`.
NETWORK = 0.726


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of all stages, and what it left."""
    folder = tmp_path_factory.mktemp("run")
    making.write_sample(folder / "in")
    for name in ("scribbles", "truth"):
        items = [
            {
                "image": str(folder / "in" / "images" / "sample.tif"),
                "truth": str(folder / "in" / name / "sample.tif"),
                "name": "sample",
            }
        ]
        done = stage(
            "tiff_to_npz",
            items=json.dumps(items),
            images=folder / f"images-{name}",
            truth=folder / name,
            truth_kind="labels",
        )
        assert done == 0
    done = stage(
        "train_pixel_classifier",
        images=folder / "images-scribbles",
        scribbles=folder / "scribbles",
        model=folder / "model",
        metrics=folder / "metrics.json",
        record=folder / "train.json",
        classes="background,nuclear",
        name="sample-pixels",
        trees=20,
        depth=6,
    )
    assert done == 0
    inputs = {"images": folder / "images-truth", "model": folder / "model"}
    assert stage("preprocess", **inputs, preprocessed=folder / "preprocessed") == 0
    assert classify(folder / "preprocessed", folder / "model", folder) == 0
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    assert stage("postprocess", **places) == 0
    return folder


def array(folder, name):
    batch = Batch.open(folder)
    return np.asarray(batch.read(batch.entry("sample"), name))


def test_its_objects_are_nearly_the_shipped_networks(run):
    truth = tifffile.imread(run / "in" / "truth" / "sample.tif")
    labels = array(run / "labels", "nuclear")
    (half,) = [m for m in evaluate(truth, labels)["matching"] if m["iou_threshold"] == 0.5]
    precision = half["tp"] / (half["tp"] + half["fp"] + half["fn"])
    assert precision > NETWORK - 0.10


def test_probabilities_are_pythons_and_predicts(run):
    classifier = PixelClassifier.load(run / "model")
    image = tifffile.imread(run / "in" / "images" / "sample.tif")
    wanted = classifier.probabilities(image)
    assert np.array_equal(array(run / "predictions", "classes"), wanted)
    shown = tifffile.imread(run / "classes" / "sample.tif")
    assert np.array_equal(shown, classifier.class_image(wanted))
    done = stage(
        "predict",
        preprocessed=run / "preprocessed",
        model=run / "model",
        predictions=run / "again",
        record=run / "predict.json",
    )
    assert done == 0
    assert np.array_equal(array(run / "again", "classes"), wanted)


def test_the_model_says_what_it_was_taught_by(run):
    card = ModelCard.load(run / "model")
    assert (card.name, card.compartments) == ("sample-pixels", ("nuclear",))
    assert card.training["images"] == ["sample"]
    drawn = tifffile.imread(run / "in" / "scribbles" / "sample.tif")
    counts = [each["scribbled_pixels"] for each in card.training["classes"]]
    assert counts == [int((drawn == 1).sum()), int((drawn == 2).sum())]
    assert sum(counts) == pytest.approx(0.02 * drawn.size, rel=0.05)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["out_of_bag"] == card.accuracy["out_of_bag"] > 0.95
    assert any(each["chosen"] for each in metrics["choice"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"sigmas": "1,x"}, "sigmas: expected numbers"),
        ({"features": "nothing"}, "feature: expected one of"),
        ({"classes": "a,b,c"}, "classes: expected 2 names"),
        ({"scribbles": "images-scribbles"}, "expected an array 'labels'"),
    ],
)
def test_what_teaches_nothing_is_one_line(run, tmp_path, capsys, flags, says):
    given = {"scribbles": "scribbles", **flags}
    given["scribbles"] = run / given["scribbles"]
    outputs = {"model": tmp_path / "model", "metrics": tmp_path / "m", "record": tmp_path / "r"}
    images = run / "images-scribbles"
    assert stage("train_pixel_classifier", images=images, **given, **outputs) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("cellmill train_pixel_classifier: ")
    assert says in error
    assert not (tmp_path / "model" / "model.json").exists()


def test_a_network_is_no_pixel_classifier(run, tmp_path, capsys):
    assert stage("fetch_model", source="cellmill-nuclei", model=tmp_path / "model") == 0
    inputs = {"images": run / "images-truth", "model": tmp_path / "model"}
    assert stage("preprocess", **inputs, preprocessed=tmp_path / "preprocessed") == 0
    done = stage(
        "classify_pixels",
        preprocessed=tmp_path / "preprocessed",
        model=tmp_path / "model",
        predictions=tmp_path / "predictions",
        classes=tmp_path / "classes",
        record=tmp_path / "record.json",
    )
    assert done == 2
    assert "expected a pixel classifier" in capsys.readouterr().err
