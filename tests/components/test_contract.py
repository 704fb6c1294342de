"""A component's interface is declared twice, in its stage and for KFP: both say the same."""

import pytest
import yaml

from cellmill.contract import TaskFinalStatus
from cellmill.contract.spec import PARAMETER_TYPES, StageSpec, stage_names
from cellmill.version import __version__
from launch.compile import component, component_names, generated_files
from launch.environments import image_name, image_names
from launch.paths import ROOT

COMPONENTS = component_names()


def declared(name):
    document = yaml.safe_load((ROOT / "components" / name / "component.yaml").read_text())
    interface = document["components"][f"comp-{name.replace('_', '-')}"]
    executors = document["deploymentSpec"]["executors"]
    return interface, executors[interface["executorLabel"]]["container"]


def words(text):
    return " ".join(text.split())


def test_every_stage_has_a_component_and_every_component_a_stage():
    assert stage_names() == COMPONENTS


@pytest.mark.parametrize("name", COMPONENTS)
def test_artifacts_are_the_same(name):
    spec = StageSpec.load(name)
    interface, _ = declared(name)
    for ours, theirs in (
        (spec.inputs, interface.get("inputDefinitions", {}).get("artifacts", {})),
        (spec.outputs, interface.get("outputDefinitions", {}).get("artifacts", {})),
    ):
        assert {a.name for a in ours} == set(theirs)
        for artifact in ours:
            there = theirs[artifact.name]
            assert there["artifactType"]["schemaTitle"] == artifact.type.schema_title
            assert there.get("isArtifactList", False) == artifact.is_list
            assert there.get("isOptional", False) == artifact.optional
            assert words(there["description"]) == words(artifact.description)


@pytest.mark.parametrize("name", COMPONENTS)
def test_parameters_are_the_same(name):
    spec = StageSpec.load(name)
    interface, _ = declared(name)
    theirs = interface.get("inputDefinitions", {}).get("parameters", {})
    assert {p.name for p in spec.parameters} == set(theirs)
    for parameter in spec.parameters:
        there = theirs[parameter.name]
        assert there["parameterType"] == PARAMETER_TYPES[parameter.type]
        # The platform gives a status; nobody else may.
        optional = not parameter.required or parameter.type is TaskFinalStatus
        assert there.get("isOptional", False) == optional
        if not parameter.required:
            assert there["defaultValue"] == parameter.default
        assert words(there["description"]) == words(parameter.description)
    results = interface.get("outputDefinitions", {}).get("parameters", {})
    assert {r.name: PARAMETER_TYPES[r.type] for r in spec.results} == {
        key: value["parameterType"] for key, value in results.items()
    }


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_container_runs_the_stage_and_nothing_else(name):
    _, container = declared(name)
    assert container["command"] == ["python", "-m", "cellmill"]
    assert container["args"] == [name, "--executor-input", "{{$}}"]
    assert image_name(container["image"]) in image_names()
    assert container["image"].endswith(f":{__version__}")
    assert words(component(name).description) == words(StageSpec.load(name).description)


def test_generated_files_are_up_to_date():
    stale = [p for p, text in generated_files() if not p.exists() or p.read_text() != text]
    assert stale == []
