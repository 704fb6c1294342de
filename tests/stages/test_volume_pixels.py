"""The stages that teach a pixel classifier of volumes and run it, block by block."""

import numpy as np
import pytest
import tifffile

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.classifier import PixelClassifier
from tests.segmentation.maps import balls
from tests.stages.by_command import classify, stage

#: Larger than a block along Y and X.
SHAPE, MPP = (14, 90, 104), (1.0, 0.5, 0.5)


def write(folder, volumes, scribbles, mpps):
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "scribbles") as drawn:
        for name, volume in volumes.items():
            axes = "ZYXC"[-volume.ndim :]
            told = {"mpp": mpps[name], "channels": ["dapi"]}
            images.write(name, {"image": volume}, axes={"image": axes}, **told)
            marks = scribbles[name]
            drawn.write(name, {"labels": marks}, axes={"labels": axes[:-1]}, mpp=mpps[name])


def volume_and_marks(seed):
    truth = balls(seed, SHAPE, 12, 12) > 0
    rng = np.random.default_rng(seed)
    volume = (100 + 900 * truth + rng.normal(0, 60, SHAPE)).clip(0).astype(np.uint16)
    marks = np.where(rng.random(SHAPE) < 0.01, 1 + truth, 0).astype(np.int32)
    return truth, volume[..., np.newaxis], marks


def teach(folder, **flags):
    inputs = {"images": folder / "images", "scribbles": folder / "scribbles"}
    outputs = {name: folder / name for name in ("model", "metrics", "record")}
    told = {"classes": "background,nuclear", "sigmas": "1,2", "trees": 5, "depth": 6}
    return stage("train_pixel_classifier", **inputs, **outputs, **told, **flags)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of all stages on volumes, and what it left."""
    folder = tmp_path_factory.mktemp("run")
    names = ("a", "b")
    found = {name: volume_and_marks(seed) for seed, name in enumerate(names)}
    volumes = {name: volume for name, (_, volume, _) in found.items()}
    marks = {name: marks for name, (_, _, marks) in found.items()}
    write(folder, volumes, marks, dict.fromkeys(names, MPP))
    assert teach(folder) == 0
    inputs = {"images": folder / "images", "model": folder / "model"}
    assert stage("preprocess", **inputs, preprocessed=folder / "preprocessed") == 0
    assert classify(folder / "preprocessed", folder / "model", folder) == 0
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    assert stage("postprocess", **places) == 0
    return folder, found


def test_blocks_give_the_probabilities_of_the_whole(run):
    folder, found = run
    card, classifier = ModelCard.load(folder / "model"), PixelClassifier.load(folder / "model")
    assert card.input.sees_volumes
    assert classifier.features.z_spacing == 2
    assert max(SHAPE) > max(card.input.tile)
    predictions = Batch.open(folder / "predictions")
    for name, (_, volume, _) in found.items():
        wanted = classifier.probabilities(volume)
        given = np.asarray(predictions.read(predictions.entry(name), "classes"))
        assert np.array_equal(given, wanted)
        shown = tifffile.imread(folder / "classes" / f"{name}.tif")
        assert np.array_equal(shown, classifier.class_image(wanted))


def test_objects_are_where_the_class_is(run):
    folder, found = run
    labels = Batch.open(folder / "labels")
    for name, (truth, _, _) in found.items():
        objects = np.asarray(labels.read(labels.entry(name), "nuclear"))
        assert objects.max() > 2
        assert ((objects > 0) == truth).mean() > 0.97


def test_predict_gives_the_same(run):
    folder, found = run
    inputs = {"preprocessed": folder / "preprocessed", "model": folder / "model"}
    outputs = {"predictions": folder / "again", "record": folder / "predict.json"}
    assert stage("predict", **inputs, **outputs) == 0
    first, again = Batch.open(folder / "predictions"), Batch.open(folder / "again")
    for name in found:
        one = np.asarray(first.read(first.entry(name), "classes"))
        assert np.array_equal(one, np.asarray(again.read(again.entry(name), "classes")))


def test_a_classifier_of_images_classifies_planes(run, tmp_path):
    folder, found = run
    _, volume, marks = found["a"]
    plane = np.ascontiguousarray(volume[7]), np.ascontiguousarray(marks[7])
    write(tmp_path, {"a": plane[0]}, {"a": plane[1]}, {"a": MPP[1:]})
    assert teach(tmp_path) == 0
    inputs = {"images": folder / "images", "model": tmp_path / "model"}
    assert stage("preprocess", **inputs, preprocessed=tmp_path / "preprocessed") == 0
    assert classify(tmp_path / "preprocessed", tmp_path / "model", tmp_path) == 0
    classifier = PixelClassifier.load(tmp_path / "model")
    predictions = Batch.open(tmp_path / "predictions")
    given = np.asarray(predictions.read(predictions.entry("a"), "classes"))
    assert np.array_equal(given[3], classifier.probabilities(volume[3]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("plane", "expected a volume, its planes 2 pixels apart, as the first, found an image, 1"),
        ("voxels", "expected a volume, its planes 2 pixels apart, as the first, found a volume, 4"),
        ("marks", "expected an image (Y, X, C) and scribbles (Y, X), or both with Z before"),
    ],
)
def test_volumes_that_are_not_alike_are_one_line(tmp_path, capsys, change, says):
    _, volume, marks = volume_and_marks(0)
    volumes, drawn, mpps = (
        {"a": volume, "b": volume},
        {"a": marks, "b": marks},
        {"a": MPP, "b": MPP},
    )
    if change == "plane":
        volumes["b"], drawn["b"], mpps["b"] = volume[0], marks[0], MPP[1:]
    elif change == "voxels":
        mpps["b"] = (2.0, 0.5, 0.5)
    write(tmp_path, volumes, drawn, mpps)
    if change == "marks":
        with BatchWriter(tmp_path / "other") as other:
            other.write("a", {"labels": marks[0]}, axes={"labels": "YX"}, mpp=MPP[1:])
        (tmp_path / "scribbles").rename(tmp_path / "old")
        (tmp_path / "other").rename(tmp_path / "scribbles")
    assert teach(tmp_path) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "model" / "model.json").exists()
