"""What is committed and every rendering pass; each rule has a broken YAML that it catches."""

import copy

import pytest
import yaml

from cellmill.version import __version__
from components.container_images import ContainerImage, read_lock
from launch import ROOT
from launch.compiling.lint_ir import lint, main
from launch.compiling.renderings import TARGETS, Choice, render

COMMITTED = yaml.safe_load((ROOT / "pipelines/deepcell_segmentation/pipeline.yaml").read_text())
PINNED = {
    n: ContainerImage(f"r.example/{n}", __version__, "sha256:" + "1" * 64) for n in read_lock()
}
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


def no_output_of_the_loop(spec):
    outputs = spec["components"]["comp-for-loop-1"]["dag"]["outputs"]["artifacts"]
    (first, *_) = outputs.values()
    first["artifactSelectors"][0]["producerSubtask"] = "none"


def nothing_to_loop_over(spec):
    items = spec["root"]["dag"]["tasks"]["for-loop-1"]["parameterIterator"]["items"]
    items["inputParameter"] = "none"


def mistyped_by_a_task(spec):
    made = spec["components"]["comp-fetch-model"]["outputDefinitions"]
    made["parameters"] = {"size": {"parameterType": "STRING"}}
    root = spec["root"]["dag"]["tasks"]
    inputs = root["summarize"]["inputs"].setdefault("parameters", {})
    inputs["title"] = {
        "taskOutputParameter": {"producerTask": "fetch-model", "outputParameterKey": "size"}
    }
    declared = spec["components"]["comp-summarize"]["inputDefinitions"]["parameters"]
    declared["title"] = {"parameterType": "BOOLEAN"}


def no_image(spec):
    container(spec)["image"] = ""


def too_many(spec):
    container(spec)["resources"]["accelerator"]["resourceCount"] = "3"


def token(spec):
    container(spec, "fetch-model")["env"] = [{"name": "DEEPCELL_ACCESS_TOKEN", "value": "abc"}]


def no_deployment(spec):
    container(spec)["imagined"] = 1


def cached(spec):
    loop(spec)["predict"]["cachingOptions"] = {"enableCache": True}


def no_root(spec):
    del spec["root"]


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
        (no_output_of_the_loop, "comes from 'none."),
        (nothing_to_loop_over, "loops over 'none', which is not given"),
        (mistyped_by_a_task, "input 'title' is BOOLEAN, what is given is STRING"),
        (no_image, "exec-predict: it names no image"),
        (too_many, "no machine carries 3 NVIDIA_TESLA_T4"),
        (token, "the variable DEEPCELL_ACCESS_TOKEN holds a value"),
        (no_deployment, "deploymentSpec: "),
        (cached, "task 'predict': is cached, and 'localhost/cellmill-tensorflow"),
        (no_root, "it has no 'root'"),
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


@pytest.mark.parametrize("text", ["a: [", "", "just text", "root: 1"])
def test_what_is_no_pipeline_is_said(text):
    (line,) = lint(text)
    assert line.startswith(("no YAML: ", "no compiled pipeline: "))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(command=["pip", "install", "x"]), "its command installs packages"),
        (lambda c: c.update(env=[{"name": "API_KEY", "value": "1"}]), "variable API_KEY holds"),
        (lambda c: c.update(image_uri=""), "it names no image"),
    ],
)
def test_worker_pools_are_read_too(change, says):
    spec = yaml.safe_load(render("deepcell_segmentation", "vertex-spot", SPOT))
    parameters = spec["components"]["comp-predict"]["inputDefinitions"]["parameters"]
    change(parameters["worker_pool_specs"]["defaultValue"][0]["container_spec"])
    assert any(says in line for line in lint(yaml.safe_dump(spec)))


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
