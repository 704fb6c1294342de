"""A card alone is a model: its images pass through every stage to a method that reads them."""

import json

import numpy as np
import pytest
import tifffile

from cellmill import segment
from cellmill.arrays.batch import Batch
from cellmill.contract.cli import main
from cellmill.datasets.samples import sample_image
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard, known_cards
from cellmill.models.fetch import copy_model, fetch_model
from cellmill.segmentation.methods import METHODS, check_card
from cellmill.segmentation.voronoi_otsu.in_memory import segment_image
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters

CARD = known_cards()["voronoi_otsu"]


def stage(name, **flags):
    given = [name]
    for key, value in flags.items():
        given += [
            f"--{key.replace('_', '-')}",
            json.dumps(value) if isinstance(value, dict) else str(value),
        ]
    assert not main(given)


def by_stages(folder, image, source, method="", parameters=None):
    """Labels by the stages of `make run`."""
    settings = {"method": method, "parameters": parameters or {}}
    items = folder / "items.json"
    items.write_text(json.dumps([{"image": str(image), "truth": "", "name": "a"}]))
    stage("tiff_to_npz", items=items.read_text(), images=folder / "images", truth=folder / "truth")
    stage("fetch_model", source=source, model=folder / "model")
    inputs = {"images": folder / "images", "model": folder / "model"}
    stage("preprocess", **inputs, preprocessed=folder / "preprocessed")
    stage(
        "predict",
        preprocessed=folder / "preprocessed",
        model=folder / "model",
        predictions=folder / "predictions",
        record=folder / "predict.json",
        compartment="nuclear",
        **settings,
    )
    places = {"predictions": folder / "predictions", "labels": folder / "labels"}
    stage("postprocess", **places, compartment="nuclear", **settings)
    batch = Batch.open(folder / "labels")
    return batch.read(batch.entry("a"), "nuclear")


@pytest.fixture(scope="module")
def sample():
    return tifffile.imread(sample_image()[0])


def expected(pixels, **changes):
    values = {**CARD.postprocessing["nuclear"], **changes}
    del values["method"]
    return segment_image(pixels, VoronoiOtsuParameters(**values))


def test_stages_and_the_call_give_the_method_s_labels(tmp_path, sample):
    found = by_stages(tmp_path, sample_image()[0], "voronoi_otsu")
    assert found.max() > 50
    np.testing.assert_array_equal(found, expected(sample))
    called = segment(sample, model="voronoi_otsu")
    np.testing.assert_array_equal(called.label_image, found)
    assert called.facts.engine == {}
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.json"]
    predictions = Batch.open(tmp_path / "predictions")
    assert [*predictions.entry("a").arrays] == ["image"]
    assert "engine" not in json.loads((tmp_path / "predict.json").read_text())["notes"]


def test_a_method_and_parameters_in_the_card_s_place_need_no_network_either(tmp_path, sample):
    given = {"spot_sigma": 3, "outline_sigma": 1, "small_objects_threshold": 0}
    called = segment(sample, method="voronoi_otsu", parameters=given)
    found = by_stages(tmp_path, sample_image()[0], "", "voronoi_otsu", given)
    np.testing.assert_array_equal(called.label_image, found)
    assert [*Batch.open(tmp_path / "predictions").entry("a").arrays] == ["image"]
    assert called.facts.engine == {}


def test_a_card_alone_is_had_by_name_folder_and_archive(tmp_path):
    copy_model(fetch_model("Voronoi_Otsu"), tmp_path / "own")
    assert fetch_model(str(tmp_path / "own")).card == CARD
    again = tmp_path / "again"
    again.mkdir()
    copy_model(fetch_model((tmp_path / "own").as_uri()), again)
    assert ModelCard.load(again) == CARD
    check_card(CARD)
    assert CARD.postprocessing["nuclear"]["method"] in METHODS


def test_a_card_with_heads_still_needs_its_network(tmp_path):
    known_cards()["Mesmer"].save(tmp_path)
    with pytest.raises(BadInput, match="SavedModel"):
        fetch_model(str(tmp_path))
