"""What KFP's compiler made of a component is what its stage declares."""

import ast

import pytest
import yaml

import cellmill.catalog
from cellmill.contract import Dataset, Model, TaskFinalStatus
from cellmill.contract.spec import PARAMETER_TYPES, StageSpec, stage_names
from cellmill.version import __version__
from launch import ROOT
from launch.compile import compiled_files, component_sources, left_behind
from launch.compiling.compiled import component, component_names
from launch.compiling.kinds import kinds_in
from launch.images.environments import image_name, image_names

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
            kinds, text = kinds_in(words(there["description"]))
            assert kinds == artifact.kinds
            assert text == words(artifact.description)


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
    files = [*component_sources(), *compiled_files()]
    assert [p for p, text in files if not p.exists() or p.read_text() != text] == []
    assert list(left_behind()) == []


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_example_of_its_page_is_right(name):
    """What the page's example gives is what the component wants: no more, no less."""
    readme = (ROOT / "components" / name / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    tree = ast.parse(example.replace("…", "None"))
    call = tree.body[-1].value
    loaded = cellmill.catalog.component(name)
    wanted = {n for n, i in loaded.component_spec.inputs.items() if not i.optional}
    assert f'{name} = cellmill.catalog.component("{name}")' in example
    assert (call.func.id, {k.arg for k in call.keywords}) == (name, wanted)


def test_every_dataset_of_a_stage_is_of_a_kind():
    """To KFP they are all alike: without a kind any of them could be wired to any input."""
    specs = [StageSpec.load(name) for name in COMPONENTS]
    artifacts = [
        (s.name, a.name, t) for s in specs for a in (*s.inputs, *s.outputs) for t in a.types
    ]
    assert [(s, a) for s, a, t in artifacts if issubclass(t, (Dataset, Model)) and not t.kind] == []


def test_one_kind_is_one_type_to_kfp():
    kinds = {}
    for name in COMPONENTS:
        spec = StageSpec.load(name)
        for type_ in (t for a in (*spec.inputs, *spec.outputs) for t in a.types):
            assert kinds.setdefault(type_.kind or type_, type_.schema_title) == type_.schema_title
