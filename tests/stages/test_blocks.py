"""A network that sees volumes, through the stages and in one call."""

import json

import numpy as np
import pytest
import tifffile

import cellmill
from cellmill.contract import Dataset, Model, Record
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.stages.predict import predict
from cellmill.stages.preprocess import preprocess
from tests.inference.tiny_volumes import RAYS, save_ball_finder
from tests.stages.test_volumes import PHANTOM, chain, convert, phantom  # noqa: F401

RADIUS_PX = 7.5 / PHANTOM[1]


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    save_ball_finder(folder, RADIUS_PX)
    return folder


@pytest.fixture(scope="module")
def found(balls, phantom, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("found")
    return chain(folder, [phantom], str(balls), z="all", container="zarr")


def test_a_volume_is_predicted_as_a_whole_and_its_objects_are_found(found, phantom):  # noqa: F811
    (entry,) = found["heads"].entries
    assert entry.arrays["probability"].shape == (22, 55, 60, 1)
    assert entry.arrays["distances"].shape == (22, 55, 60, RAYS)
    assert "plane_by_plane" not in entry.attributes
    (entry,) = found["labels"].entries
    assert entry.arrays["nuclear"].axes == "ZYX"
    (scored,) = found["scores"].entries
    scores = json.loads(found["scores"].file(scored, "json").read_text())["nuclear"]
    # All balls of the network are of one size.
    assert scores["matching"][0]["tp"] >= 6


def test_blocks_of_any_size_give_the_same_heads(found, phantom, tmp_path):  # noqa: F811
    save_ball_finder(tmp_path / "one", RADIUS_PX, tile=(64, 128, 128))
    whole = chain(tmp_path, [phantom], str(tmp_path / "one"), z="all", container="npz")
    for name in ("probability", "distances"):
        by_blocks, at_once = (
            batch.read(batch.entries[0], name) for batch in (found["heads"], whole["heads"])
        )
        np.testing.assert_allclose(by_blocks, at_once, rtol=0, atol=1e-5)
    labels, others = (
        batch.read(batch.entries[0], "nuclear") for batch in (found["labels"], whole["labels"])
    )
    assert np.mean(labels != others) < 0.002


def test_one_call_gives_the_stages_labels(balls, found, phantom):  # noqa: F811
    labels = found["labels"].read(found["labels"].entries[0], "nuclear")
    cells = cellmill.segment(phantom["image"], z="all", model=str(balls), keep_maps=True)
    np.testing.assert_array_equal(cells.label_image, labels)
    assert cells.maps["distances"].shape == (22, 55, 60, RAYS)
    small = cellmill.segment(phantom["image"], z="all", model=str(balls), memory_mib=64)
    np.testing.assert_array_equal(small.label_image, labels)


def test_an_image_is_refused_in_one_line(balls, phantom, tmp_path):  # noqa: F811
    line = r"^model 'balls': expected a network of planes for images \(Y, X\), found one that sees"
    with pytest.raises(BadInput, match=line):
        cellmill.segment(tifffile.imread(phantom["image"])[3], model=str(balls))
    convert(tmp_path, [phantom["image"]], z=3)
    record, ready = Record(tmp_path / "record.json"), Dataset(tmp_path / "ready")
    preprocess(Dataset(tmp_path / "images"), Model(balls), ready, record)
    with pytest.raises(BadInput, match=line):
        predict(ready, Model(balls), Dataset(tmp_path / "heads"), record)


def test_its_card_says_what_it_is(balls):
    card = ModelCard.load(balls)
    assert card.input.sees_volumes
    assert card.heads[0].strides(3) == (1, 2, 2)
    assert card.heads[0].shape_over((5, 9, 8)) == (5, 5, 4, 1)
