"""Every rendering is the same graph; only the hardware differs, and what cannot be is refused."""

import pytest
import yaml

from cellmill.errors import BadInput
from cellmill.version import __version__
from components.images import Image, read_lock
from launch.compile import pipeline_names
from launch.paths import ROOT
from launch.renderings import SPOT_RETRIES, TARGETS, TOKEN_SECRET, Choice, render
from pipelines.accelerators import ACCELERATORS, accelerator, machine_for

L4 = Choice("NVIDIA_L4")
SPOT = Choice("NVIDIA_L4", spot=True)


def documents(name, target, choice=None, images=None):
    return list(yaml.safe_load_all(render(name, target, choice, images)))


def graph(spec):
    """What is computed from what: tasks and artifacts, without machines."""

    def dag(node):
        tasks = {}
        for name, task in node["tasks"].items():
            kept = {k: task[k] for k in ("componentRef", "inputs", "dependentTasks") if k in task}
            tasks[name] = {
                **kept,
                "loop": task.get("artifactIterator") or task.get("parameterIterator"),
            }
        return {"tasks": tasks, "outputs": node.get("outputs")}

    def ends(component, side):
        artifacts = component.get(side, {}).get("artifacts", {})
        return {
            k: (v["artifactType"]["schemaTitle"], v.get("isArtifactList"))
            for k, v in artifacts.items()
        }

    components = {
        name: {
            "dag": dag(component["dag"]) if "dag" in component else None,
            "in": ends(component, "inputDefinitions"),
            "out": ends(component, "outputDefinitions"),
        }
        for name, component in spec["components"].items()
    }
    return {
        "root": dag(spec["root"]["dag"]),
        "components": components,
        "interface": spec["root"].get("inputDefinitions"),
    }


@pytest.mark.parametrize("name", pipeline_names())
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("choice", [Choice(), SPOT], ids=["default", "spot"])
def test_the_graph_is_the_committed_one(name, target, choice):
    committed = yaml.safe_load((ROOT / "pipelines" / name / "pipeline.yaml").read_text())
    rendered = documents(name, target, choice)
    assert graph(rendered[0]) == graph(committed)
    assert len(rendered) == (2 if target == "kubeflow" else 1)


def test_the_portable_rendering_is_the_committed_file():
    for name in pipeline_names():
        committed = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
        assert render(name, "portable") == committed


def resources(spec, task="predict"):
    return spec["deploymentSpec"]["executors"][f"exec-{task}"]["container"].get("resources", {})


def test_accelerators_are_named_as_each_platform_does():
    (vertex,) = documents("deepcell_segmentation", "vertex", L4)
    assert resources(vertex)["accelerator"]["resourceType"] == "NVIDIA_L4"
    kubeflow, platform = documents("deepcell_segmentation", "kubeflow", L4)
    assert resources(kubeflow)["accelerator"]["resourceType"] == "nvidia.com/gpu"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    predict = executors["exec-predict"]
    assert predict["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert predict["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert predict["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    secret = executors["exec-fetch-model"]["secretAsEnv"][0]
    assert (secret["secretName"], secret["optional"]) == (TOKEN_SECRET, True)
    assert set(executors) == {"exec-predict", "exec-fetch-model"}


def test_without_an_accelerator_none_is_asked_for():
    for target in ("vertex", "kubeflow"):
        spec = documents("deepcell_segmentation", target, Choice("none"))[0]
        assert "accelerator" not in resources(spec)
        assert resources(spec)["resourceCpuLimit"]


def test_only_what_can_be_taken_away_is_tried_again():
    for target, choice in (("vertex-spot", SPOT), ("kubeflow", SPOT)):
        spec = documents("deepcell_segmentation", target, choice)[0]
        tasks = spec["components"]["comp-for-loop-1"]["dag"]["tasks"]
        retried = {
            n: t["retryPolicy"]["maxRetryCount"] for n, t in tasks.items() if "retryPolicy" in t
        }
        assert retried == {"predict": SPOT_RETRIES}
    assert "retryPolicy" not in render("deepcell_segmentation", "vertex", L4)


def test_images_are_those_of_the_lock_everywhere():
    images = {n: Image(f"r.example/{n}", __version__, "sha256:" + "1" * 64) for n in read_lock()}
    for target in TARGETS:
        text = render("deepcell_segmentation", target, SPOT, images)
        assert "localhost/" not in text
        for name in ("imaging", "tensorflow"):
            assert images[name].reference in text
    with pytest.raises(BadInput, match="image 'tensorflow'"):
        render("deepcell_segmentation", "vertex", L4, {"imaging": images["imaging"]})


@pytest.mark.parametrize("kind", list(ACCELERATORS.values()), ids=lambda k: k.name)
def test_every_accelerator_has_a_machine_for_one(kind):
    assert machine_for(kind, 1) == kind.machine
    for machine, counts in kind.machines.items():
        for count in counts:
            assert machine_for(kind, count, machine) == machine


@pytest.mark.parametrize(
    ("target", "choice", "says"),
    [
        ("vertex", Choice("NVIDIA_H9000"), "ACCELERATOR: expected one of NVIDIA_TESLA_T4"),
        (
            "vertex-spot",
            Choice("NVIDIA_L4", machine="n1-standard-8"),
            "MACHINE_TYPE: .*g2-standard",
        ),
        ("vertex", Choice("NVIDIA_L4", count=3), "ACCELERATORS: expected one of 1, 2, 4, 8"),
        ("vertex-spot", Choice("none", spot=True), "SPOT: expected an ACCELERATOR"),
        ("kubeflow", Choice("NVIDIA_L4", machine="g2-standard-8"), "MACHINE_TYPE: expected none"),
        ("mainframe", Choice(), "TARGET: expected one of portable"),
    ],
)
def test_what_cannot_be_is_one_line(target, choice, says):
    with pytest.raises(BadInput, match=says) as caught:
        render("deepcell_segmentation", target, choice)
    assert "\n" not in str(caught.value)


def test_a_second_machine_is_found_for_more_of_them():
    assert machine_for(accelerator("NVIDIA_L4"), 2) == "g2-standard-24"
