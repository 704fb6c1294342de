"""Classes of pixels by a network: taught by sparse labels, predicted, shown, cut into objects."""

import json

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.models.card import ModelCard
from tests.stages.by_command import stage
from tests.stages.test_train_segmenter import blobs

CLASSES = "background,nuclear"


def batches(folder, change=None):
    """Images, their classes (of the first ones a fifth of the pixels), and objects."""
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "truth") as truth:
        for i, name in enumerate("abc"):
            image, labels = blobs(i)
            classes = 1 + (labels > 0)
            if name != "c":
                drawn = np.random.default_rng(i).random(classes.shape) < 0.2
                classes = np.where(drawn, classes, 0)
            if change:
                classes = change(classes)
            images.write(name, {"image": image[..., None]}, axes={"image": "YXC"}, mpp=(0.5, 0.5))
            truth.write(name, {"labels": classes.astype(np.int32)}, axes={"labels": "YX"})


def train(folder, **flags):
    return stage(
        "train_segmenter",
        images=folder / "images",
        labels=folder / "truth",
        model=folder / "model",
        metrics=folder / "metrics.json",
        record=folder / "record.json",
        **{"task": "semantic", "classes": CLASSES, "validation": "c", **flags},
    )


@pytest.mark.tensorflow
def test_sparse_labels_teach_classes_that_are_shown_scored_and_cut_into_objects(tmp_path, capsys):
    batches(tmp_path)
    small = {"steps": 60, "batch_size": 2, "crop": 48, "validate_every": 30}
    assert train(tmp_path, learning_rate=0.01, **small) == 0
    card = ModelCard.load(tmp_path / "model")
    assert card.compartments == ("nuclear",)
    assert card.postprocessing["nuclear"]["method"] == "probability_watershed"
    assert [(head.name, head.channels) for head in card.heads] == [("classes", 2)]
    told = [(each["value"], each["name"]) for each in card.training["classes"]]
    assert told == [(1, "background"), (2, "nuclear")]
    assert card.training["receptive_field_px"] == 157
    assert card.training["object_length_px"] == {}  # scribbles have no length
    measured = card.accuracy["validation"]
    assert measured["by_class"]["nuclear"]["dice"] > 0.5
    assert json.loads((tmp_path / "metrics.json").read_text())["validation"] == measured

    inputs = {"images": tmp_path / "images", "model": tmp_path / "model"}
    assert stage("preprocess", **inputs, preprocessed=tmp_path / "preprocessed") == 0
    given = {"preprocessed": tmp_path / "preprocessed", "model": tmp_path / "model"}
    assert stage("predict", **given, predictions=tmp_path / "predictions") == 0
    outputs = {
        name: tmp_path / name for name in ("classes", "pages", "scores", "metrics", "record")
    }
    outputs["metrics"] = tmp_path / "all.json"
    given = {"images": tmp_path / "images", "predictions": tmp_path / "predictions"}
    assert stage("report_classes", **given, truth=tmp_path / "truth", **outputs) == 0
    shown = tifffile.imread(tmp_path / "classes" / "c.tif")
    batch = Batch.open(tmp_path / "predictions")
    probabilities = np.asarray(batch.read(batch.entry("c"), "classes"))
    np.testing.assert_array_equal(shown, 1 + probabilities.argmax(-1))
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    scores = json.loads((tmp_path / "scores" / "c.json").read_text())
    assert scores["by_class"]["nuclear"]["dice"] == pytest.approx(
        measured["by_class"]["nuclear"]["dice"], abs=0.01
    )
    assert json.loads((tmp_path / "all.json").read_text())["images"] == 3
    page = (tmp_path / "pages" / "c.html").read_text()
    assert "What became of each class" in page
    assert "nuclear" in page

    places = {"predictions": tmp_path / "predictions", "labels": tmp_path / "labels"}
    assert stage("postprocess", **places) == 0
    found = Batch.open(tmp_path / "labels")
    objects = np.asarray(found.read(found.entry("c"), "nuclear"))
    assert 2 <= objects.max() <= 12

    capsys.readouterr()
    base = {"base": tmp_path / "model", "classes": "background,cell"}
    assert train(tmp_path, **{**small, **base}) == 2
    assert "base: expected a model of classes background, cell" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        (None, {"classes": "a,b,c"}, "classes: expected 2 names, for the values 1, 2"),
        (None, {"classes": "background,no name"}, "expected an identifier"),
        (None, {"task": "instances"}, "classes: expected none, where objects are taught"),
        (None, {"class_weights": "1,2,3"}, "class_weights: expected 2 numbers above 0"),
        (None, {"zero": "background"}, "classes: expected 3 names, for the values 0, 1, 2"),
        (lambda c: c * 0 + 1, {}, "labels: expected pixels of at least two classes, found 1"),
        (lambda c: np.arange(c.size).reshape(c.shape), {}, "at most 64 classes"),
        (lambda c: c - 1, {}, "integers (Y, X) or (Z, Y, X) from 0 up"),
        (lambda c: np.where(c == 2, 0, c) + (c == 0).all(), {}, "at least two classes"),
    ],
)
@pytest.mark.tensorflow
def test_bad_input_is_one_line(tmp_path, capsys, change, flags, says):
    batches(tmp_path, change)
    assert train(tmp_path, steps=1, **flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("cellmill train_segmenter: ")
    assert says in error
    assert not (tmp_path / "model" / "model.json").exists()
