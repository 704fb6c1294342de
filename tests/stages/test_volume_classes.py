"""Classes of voxels by a network of volumes: taught by sparse labels, predicted, shown, scored."""

import json
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.datasets.phantoms import spheres
from cellmill.models.card import ModelCard
from cellmill.training.classes import ClassObjective
from cellmill.training.images import TrainingImage
from cellmill.training.volume_classes import VolumeClassObjective
from cellmill.training.volume_network import VolumeShape
from cellmill.training.volumes import VOLUME_AUGMENTATION
from tests.stages.test_volume_training import MPP, SHAPE, stage, train

NAMES = {"task": "semantic", "classes": "background,nuclear"}


def batches(folder):
    """Volumes and their classes, of the first two in every third column alone."""
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "truth") as truth:
        for seed, name in enumerate("abc"):
            light, labels = spheres(SHAPE, MPP, count=8, radius_um=(3, 5), gap_um=0.5, seed=seed)
            noise = np.random.default_rng(seed).normal(100, 10, SHAPE)
            image = (noise + 900 * light).clip(0).astype(np.uint16)[..., None]
            classes = 1 + (labels > 0).astype(np.int32)
            if name != "c":
                classes[..., np.arange(SHAPE[2]) % 3 > 0] = 0
            images.write(name, {"image": image}, axes={"image": "ZYXC"}, mpp=MPP)
            truth.write(name, {"labels": classes}, axes={"labels": "ZYX"})


@pytest.mark.tensorflow
def test_sparse_volumes_teach_classes_that_are_shown_and_scored(tmp_path, capsys):
    batches(tmp_path)
    assert train(tmp_path, steps=30, validate_every=15, learning_rate=0.01, **NAMES) == 0
    card = ModelCard.load(tmp_path / "model")
    assert card.input.sees_volumes
    assert [(head.name, head.channels) for head in card.heads] == [("classes", 2)]
    assert card.training["anisotropy"] == 4.0
    assert card.training["unlabelled_pixels"] > 0
    for side, reach in zip(card.input.tile, card.training["reach_zyx_px"], strict=True):
        assert card.tiling.overlap * side >= 2 * reach
    measured = card.accuracy["validation"]
    assert measured["pixels"] == np.prod(SHAPE)
    assert 0 <= measured["by_class"]["nuclear"]["boundary"]["f1"] <= 1
    losses = [look["loss"] for look in json.loads((tmp_path / "metrics.json").read_text())["curve"]]
    assert losses[-1] < 0.95 * losses[1]

    model = {"model": tmp_path / "model"}
    images = {"images": tmp_path / "images"}
    assert stage("preprocess", **images, **model, preprocessed=tmp_path / "ready") == 0
    predictions = {"predictions": tmp_path / "predictions"}
    assert stage("predict", preprocessed=tmp_path / "ready", **model, **predictions) == 0
    outputs = {name: tmp_path / name for name in ("classes", "pages", "scores", "record")}
    outputs["metrics"] = tmp_path / "all.json"
    truth = {"truth": tmp_path / "truth"}
    assert stage("report_classes", **images, **predictions, **truth, **outputs) == 0
    batch = Batch.open(tmp_path / "predictions")
    probabilities = np.asarray(batch.read(batch.entry("c"), "classes"))
    assert probabilities.shape == (*SHAPE, 2)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    shown = tifffile.imread(tmp_path / "classes" / "c.tif")
    np.testing.assert_array_equal(shown, 1 + probabilities.argmax(-1))
    scores = json.loads((tmp_path / "scores" / "c.json").read_text())
    assert scores["mean_dice"] == pytest.approx(measured["mean_dice"], abs=0.01)
    page = (tmp_path / "pages" / "c.html").read_text()
    assert "56 × 48 × 8 voxels" in page
    assert "The middle plane" in page
    # Planes lie four pixels apart: 8 of them are 32 px beside and below a plane of 48 × 56.
    high, wide = np.asarray(Image.open(BytesIO((tmp_path / "pages/c.png").read_bytes()))).shape[:2]
    assert high * (56 + 6 + 32) == wide * (48 + 6 + 32)

    places = {**predictions, "labels": tmp_path / "labels"}
    assert stage("postprocess", **places) == 0
    found = Batch.open(tmp_path / "labels")
    assert np.asarray(found.read(found.entry("c"), "nuclear")).shape == SHAPE

    # It goes on from itself, and what sees volumes is no base for images.
    base = {"base": tmp_path / "model", "steps": 1}
    again = tmp_path / "again"
    again.mkdir()
    for name in ("images", "truth"):
        (again / name).symlink_to(tmp_path / name)
    assert train(again, **NAMES, **base) == 0
    capsys.readouterr()
    assert train(again, task="instances", **base) == 2
    assert "base: expected" in capsys.readouterr().err


def test_crops_look_for_what_is_rare():
    """A class of one plane of forty is in most crops, where chance has it in a quarter."""
    classes = np.ones((40, 96, 96), np.int32)
    classes[3, 20:76, 20:76] = 2
    classes[:, :8] = 0
    image = TrainingImage("rare", (classes == 2).astype(np.float32)[..., None], classes)
    shape = VolumeShape.for_voxels(4.0)
    objective = VolumeClassObjective(ClassObjective((1.0, 9.0)), (4.0, 1.0, 1.0), shape)
    random = np.random.default_rng(0)
    crops = [objective.crop(image, 32, random, VOLUME_AUGMENTATION) for _ in range(40)]
    for picture, places in crops:
        assert picture.shape == (8, 32, 32, 1)
        assert places.shape == (8, 32, 32)
        if (places == 2).any() and (places == 1).any():
            assert picture[places == 2].mean() > picture[places == 1].mean()
    assert sum((places == 2).any() for _, places in crops) > 20


@pytest.mark.tensorflow
def test_unlabelled_voxels_carry_no_loss():
    shape = VolumeShape.for_voxels(1.0)
    objective = VolumeClassObjective(ClassObjective((1.0, 2.0)), (1.0, 1.0, 1.0), shape)
    random = np.random.default_rng(1)
    places = random.integers(0, 3, (2, 4, 8, 8)).astype(np.int32)
    first = random.random((2, 4, 8, 8)).astype(np.float32)
    other = np.where(places > 0, first, random.random(first.shape)).astype(np.float32)
    one, two = (float(objective.loss([np.stack([p, 1 - p], -1)], places)) for p in (first, other))
    assert one == pytest.approx(two, rel=1e-6)
    assert one > 0
    assert float(objective.loss([np.stack([first, 1 - first], -1)], places * 0)) == 0
