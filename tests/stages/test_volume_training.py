"""A network of volumes: taught by balls, its card, its blocks, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.datasets.phantoms import spheres
from cellmill.inference.blocks import BlockGrid, fitted, with_tile
from cellmill.inference.engines import load_network
from cellmill.models.card import ModelCard
from cellmill.training.accuracy import predict_heads
from cellmill.training.images import TrainingImage
from cellmill.training.targets import inner_distance, soft_interior
from cellmill.training.volume_network import VolumeShape
from cellmill.training.volumes import VOLUME_AUGMENTATION, VolumeObjective
from tests.stages.by_command import stage

MPP = (2.0, 0.5, 0.5)
SHAPE = (8, 48, 56)


def batches(folder, names="abc", mpp=MPP, plane=""):
    with BatchWriter(folder / "images") as images, BatchWriter(folder / "truth") as truth:
        for seed, name in enumerate(names):
            light, labels = spheres(SHAPE, MPP, count=8, radius_um=(3, 5), gap_um=0.5, seed=seed)
            noise = np.random.default_rng(seed).normal(100, 10, SHAPE)
            image = (noise + 900 * light).clip(0).astype(np.uint16)
            z, axes, size = ..., "ZYX", mpp
            if name == plane:
                z, axes, size = 4, "YX", mpp[1:]
            images.write(name, {"image": image[z][..., None]}, axes={"image": f"{axes}C"}, mpp=size)
            truth.write(name, {"labels": labels[z]}, axes={"labels": axes})


def train(folder, **flags):
    return stage(
        "train_segmenter",
        images=folder / "images",
        labels=folder / "truth",
        model=folder / "model",
        metrics=folder / "metrics.json",
        record=folder / "record.json",
        **{"validation": "c", "steps": 8, "batch_size": 1, "crop": 32, **flags},
    )


@pytest.mark.tensorflow
def test_volumes_make_a_network_of_volumes_that_finds_objects_whatever_its_blocks(tmp_path):
    batches(tmp_path)
    assert train(tmp_path, steps=40, validate_every=10) == 0
    card = ModelCard.load(tmp_path / "model")
    assert card.input.sees_volumes
    assert card.training["anisotropy"] == 4.0
    assert card.training["network"]["kernels"][0] == [1, 3, 3]
    assert [head.kind for head in card.heads] == ["inner_distance", "pixelwise"]
    # What two blocks share is what the network reads to both sides.
    for side, reach in zip(card.input.tile, card.training["reach_zyx_px"], strict=True):
        assert card.tiling.overlap * side >= 2 * reach
    # Balls of a radius of 3 to 5 µm.
    assert 5 < card.input.object_diameter_um["nuclear"] < 11
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    losses = [look["loss"] for look in metrics["curve"][1:]]
    assert losses[-1] < 0.9 * losses[0]
    assert metrics["validation"]["objects"] == 8
    assert "maxima_threshold" in card.postprocessing["nuclear"]

    inputs = {"images": tmp_path / "images", "model": tmp_path / "model"}
    assert stage("preprocess", **inputs, preprocessed=tmp_path / "ready") == 0
    given = {"preprocessed": tmp_path / "ready", "model": tmp_path / "model"}
    assert stage("predict", **given, predictions=tmp_path / "whole") == 0
    assert stage("postprocess", predictions=tmp_path / "whole", labels=tmp_path / "labels") == 0
    batch = Batch.open(tmp_path / "labels")
    found = np.asarray(batch.read(batch.entries[0], "nuclear"))
    assert found.shape == SHAPE
    check_blocks(tmp_path / "model", card)


def check_blocks(folder, card):
    """What blocks give is what the volume at once gives."""
    sides = (8, card.input.tile[1] + 16, 32)
    volume = np.random.default_rng(0).random((*sides, 1)).astype(np.float32)
    network = load_network(folder, card, engine="tensorflow")
    assert len(BlockGrid.over(fitted(card, sides), sides)) > 1
    whole = predict_heads(volume, network, with_tile(card, sides))
    for name, head in predict_heads(volume, network, card).items():
        np.testing.assert_allclose(head, whole[name], atol=1e-5)


@pytest.mark.parametrize(
    ("made", "flags", "says"),
    [
        ({"plane": "b"}, {}, "images or volumes, not both"),
        ({"mpp": None}, {}, "microns along z, y and x"),
        ({"mpp": None}, {"task": "semantic", "zero": "background"}, "microns along z, y and x"),
        ({}, {"method": "stardist"}, "deep_watershed, where volumes are given"),
        ({}, {"compartment": "both"}, "one kind of object, where volumes are given"),
    ],
)
@pytest.mark.tensorflow
def test_what_does_not_go_together_is_one_line(tmp_path, capsys, made, flags, says):
    batches(tmp_path, **made)
    assert train(tmp_path, **flags) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "model" / "model.json").exists()


def test_targets_count_lengths_not_voxels():
    """A ball of flat voxels is taught the same at the same distance along z and y."""
    _, labels = spheres((13, 41, 41), MPP, count=1, radius_um=(8, 8), seed=0)
    z, y, x = (round(float(each.mean())) for each in np.nonzero(labels))
    distance = inner_distance(labels, spacing=(4.0, 1.0, 1.0))
    assert distance[z + 1, y, x] == pytest.approx(distance[z, y + 4, x], rel=0.2)
    touching = np.zeros((1, 1, 4), np.int32)
    touching[..., :2], touching[..., 2:] = 1, 2
    assert soft_interior(touching).ravel().tolist() == [1, 0.5, 0.5, 1]


def test_a_crop_shows_what_its_labels_say_and_pools():
    shape = VolumeShape.for_voxels(4.0)
    light, labels = spheres((24, 64, 64), MPP, count=12, radius_um=(4, 6), seed=3)
    image = TrainingImage("balls", light[..., None], labels, mpp=MPP)
    mild = dataclasses.replace(
        VOLUME_AUGMENTATION, noise=(1e-6, 2e-6), offset=0.0, gain=(1.0, 1.0), gamma=(1.0, 1.0)
    )
    objective = VolumeObjective((4.0, 1.0, 1.0), shape)
    picture, distance, interior, weights = objective.crop(image, 32, np.random.default_rng(0), mild)
    assert picture.shape == (8, 32, 32, 1)
    assert distance.shape == interior.shape == weights.shape == (8, 32, 32)
    assert all(side % step == 0 for side, step in zip(distance.shape, shape.strides, strict=True))
    inside = interior > 0
    assert inside.any()
    assert picture[inside].mean() > 5 * picture[~inside].mean()


def test_the_network_is_flat_where_planes_lie_far_apart():
    assert VolumeShape.for_voxels(1.0).strides == (8, 8, 8)
    assert VolumeShape.for_voxels(8.0).strides == (1, 8, 8)
    said = VolumeShape.for_voxels(3.0)
    assert VolumeShape.from_card(json.loads(json.dumps(said.as_card()))) == said
