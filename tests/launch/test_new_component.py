"""`make new-component` writes a stage and a component that agree."""

import importlib.util

import pytest
import yaml
from kfp import compiler

from cellmill.contract.spec import StageSpec
from cellmill.errors import BadInput
from launch.new_component import new_component
from launch.readmes import component_readme


def load(path, name):
    found = importlib.util.spec_from_file_location(f"made_{path.stem}", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return getattr(module, name)


def test_stage_and_component_agree(tmp_path):
    stage, test, component = new_component(tmp_path, "deconvolve", "imaging")
    assert test.name == "test_deconvolve.py"
    spec = StageSpec.of(load(stage, "deconvolve"))
    path = tmp_path / "c.yaml"
    compiler.Compiler().compile(load(component, "deconvolve"), str(path))
    interface = yaml.safe_load(path.read_text())["components"]["comp-deconvolve"]
    inputs, outputs = interface["inputDefinitions"], interface["outputDefinitions"]
    assert set(inputs["artifacts"]) == {i.name for i in spec.inputs}
    assert set(inputs["parameters"]) == {p.name for p in spec.parameters}
    assert set(outputs["artifacts"]) == {o.name for o in spec.outputs}
    readme = component_readme("deconvolve", spec.description, path.read_text())
    assert "| `images` | system.Dataset |" in readme


@pytest.mark.parametrize("name", ["", "Decon", "2d", "class", "a-b", "../x"])
def test_names_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(BadInput, match="NAME"):
        new_component(tmp_path, name, "imaging")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path):
    new_component(tmp_path, "deconvolve", "imaging")
    with pytest.raises(BadInput, match="a name that is free"):
        new_component(tmp_path, "deconvolve", "imaging")


def test_an_image_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="IMAGE: expected one of"):
        new_component(tmp_path, "deconvolve", "marble")
