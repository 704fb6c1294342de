"""What is committed and every rendering pass; each rule has a broken YAML that it catches."""

import copy

import pytest
import yaml

from cellmill.version import __version__
from components.images import Image, read_lock
from launch.lint_ir import lint, main
from launch.paths import ROOT
from launch.renderings import TARGETS, Choice, render

COMMITTED = yaml.safe_load((ROOT / "pipelines/deepcell_segmentation/pipeline.yaml").read_text())
PINNED = {n: Image(f"r.example/{n}", __version__, "sha256:" + "1" * 64) for n in read_lock()}
SPOT = Choice("NVIDIA_L4", spot=True)


def test_what_is_committed_passes():
    assert main([]) == 0


@pytest.mark.parametrize("target", TARGETS)
def test_every_rendering_passes_as_a_release(target):
    text = render("deepcell_segmentation", target, SPOT, PINNED)
    assert list(lint(text, release=True, kubernetes=target == "kubeflow")) == []


def loop(spec):
    return spec["components"]["comp-for-loop-1"]["dag"]["tasks"]


def container(spec, name="predict"):
    return spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]


def no_component(spec):
    loop(spec)["predict"]["componentRef"]["name"] = "comp-none"


def no_executor(spec):
    del spec["deploymentSpec"]["executors"]["exec-predict"]


def no_dependency(spec):
    loop(spec)["predict"]["dependentTasks"].append("none")


def no_output(spec):
    source = loop(spec)["predict"]["inputs"]["artifacts"]["preprocessed"]["taskOutputArtifact"]
    source["outputArtifactKey"] = "none"


def no_input(spec):
    loop(spec)["predict"]["inputs"]["parameters"]["none"] = {"runtimeValue": {"constant": 1}}


def no_outer_input(spec):
    source = loop(spec)["predict"]["inputs"]["parameters"]["batch_size"]
    source["componentInputParameter"] = "none"


def missing(spec):
    del loop(spec)["predict"]["inputs"]["artifacts"]["model"]


def mistyped(spec):
    loop(spec)["predict"]["inputs"]["parameters"]["batch_size"] = {
        "runtimeValue": {"constant": "eight"}
    }


def mistyped_outside(spec):
    inputs = spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    source = loop(spec)["predict"]["inputs"]["parameters"]["batch_size"]
    inputs[source["componentInputParameter"]]["parameterType"] = "STRING"


def mistyped_default(spec):
    parameters = spec["components"]["comp-predict"]["inputDefinitions"]["parameters"]
    parameters["batch_size"]["defaultValue"] = "8"


def installs(spec):
    container(spec)["command"] = ["sh", "-c", "pip install cellmill && cellmill"]


def accelerator(spec):
    container(spec)["resources"]["accelerator"]["resourceType"] = "NVIDIA_H9000"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (no_component, "component 'comp-none' is not there"),
        (no_executor, "executor 'exec-predict' is not there"),
        (no_dependency, "depends on 'none'"),
        (no_output, "'preprocess.none', which is not there"),
        (no_input, "has no input 'none'"),
        (no_outer_input, "comes from 'none'"),
        (missing, "input 'model' is required"),
        (mistyped, 'is NUMBER_INTEGER, what is given is "eight"'),
        (mistyped_outside, "is NUMBER_INTEGER, what is given is STRING"),
        (mistyped_default, "the default of 'batch_size' is no NUMBER_INTEGER"),
        (installs, "its command installs packages"),
        (accelerator, "accelerator 'NVIDIA_H9000'"),
    ],
    ids=lambda v: v.__name__ if callable(v) else "",
)
def test_a_broken_one_is_caught(broken, says, tmp_path, capsys):
    spec = copy.deepcopy(COMMITTED)
    broken(spec)
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert main([str(path)]) == 1
    assert says in capsys.readouterr().err


def test_two_documents_are_for_kubernetes_only():
    text = render("deepcell_segmentation", "kubeflow", SPOT)
    assert any("2 YAML documents" in line for line in lint(text))


def test_a_release_has_no_image_by_tag_also_in_worker_pools():
    text = render("deepcell_segmentation", "vertex-spot", SPOT)
    found = list(lint(text, release=True))
    assert any("comp-predict: image 'localhost/cellmill-tensorflow" in line for line in found)
    assert any("exec-report: image 'localhost/cellmill-imaging" in line for line in found)
    assert not any("google-cloud-pipeline-components" in line for line in found)


def test_a_machine_that_does_not_carry_its_accelerator_is_caught():
    text = render("deepcell_segmentation", "vertex-spot", SPOT)
    found = list(lint(text.replace("g2-standard-8", "n1-standard-8")))
    assert found == ["comp-predict: n1-standard-8 does not carry 1 NVIDIA_L4"]


def test_a_specification_has_a_size():
    text = yaml.safe_dump({**COMMITTED, "note": "x" * (5 << 20)})
    assert any("more than" in line for line in lint(text))
