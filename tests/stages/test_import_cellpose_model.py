"""The components with cellpose's images do what `import_model` does."""

import inspect
import json

import pytest

from cellmill.contract.cli import main
from cellmill.contract.spec import StageSpec
from cellmill.models.card import ModelCard
from cellmill.models.importing.frameworks import FRAMEWORKS, find_framework
from cellmill.stages.import_cellpose4_model import import_cellpose4_model
from cellmill.stages.import_cellpose_model import import_cellpose_model
from cellmill.stages.import_model import import_model


def test_every_framework_s_image_has_a_component_that_brings_its_networks_in():
    stages = (import_model, import_cellpose_model, import_cellpose4_model)
    images = {StageSpec.load(each.__name__).declaration.image for each in stages}
    assert images == {find_framework(name).image for name in FRAMEWORKS}
    one, *others = map(inspect.signature, stages)
    assert all(other.parameters == one.parameters for other in others)


@pytest.mark.tensorflow
@pytest.mark.parametrize("stage", ["import_cellpose_model", "import_cellpose4_model"])
def test_everything_told_is_handed_on(stage, monkeypatch, tmp_path):
    monkeypatch.setitem(FRAMEWORKS, "toy", "tests.models.importing.toy_framework")
    source = tmp_path / "network"
    source.mkdir()
    (source / "toy.json").write_text(json.dumps({"off": 0}))
    places = ("--model", str(tmp_path / "model"), "--record", str(tmp_path / "record.json"))
    told = ("--framework", "toy", "--name", "mine")
    assert main([stage, "--source", str(source), *places, *told]) == 0
    assert ModelCard.load(tmp_path / "model").name == "mine"
    assert "largest_difference" in json.loads((tmp_path / "record.json").read_text())["notes"]


def test_a_size_model_is_for_networks_that_may_have_one(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(FRAMEWORKS, "toy", "tests.models.importing.toy_framework")
    source = tmp_path / "network"
    source.mkdir()
    (source / "toy.json").write_text(json.dumps({"off": 0}))
    places = ("--model", str(tmp_path / "model"), "--record", str(tmp_path / "record.json"))
    told = ("--framework", "toy", "--size-model", "x.npy")
    assert main(["import_cellpose_model", "--source", str(source), *places, *told]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "size_model: expected none: networks of " in line
    assert not (tmp_path / "model").exists()
