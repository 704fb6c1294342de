"""Every rendering is the same graph; only the hardware differs, and what cannot be is refused."""

import pytest
import yaml

from cellmill.errors import BadInput
from cellmill.version import __version__
from components.container_images import ContainerImage, read_lock
from launch import ROOT
from launch.compiling.choices import Choice, Pods, Resources, Toleration, choice_of
from launch.compiling.compiled import pipeline_names
from launch.compiling.lint_ir import lint
from launch.compiling.renderings import TARGETS, render
from pipelines.accelerators import ACCELERATORS, accelerator, machine_for
from pipelines.hardware import PORTABLE

L4 = Choice("NVIDIA_L4")
SPOT = Choice("NVIDIA_L4", spot=True)


def documents(name, target, choice=None, images=None):
    return list(yaml.safe_load_all(render(name, target, choice, images)))


def within_handler(spec):
    """A rendering without its exit handler, which must hold the pipeline whole and nothing else."""
    components = dict(spec["components"])
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {"exit-handler-1", "report-failure"}
    told, inside = tasks["report-failure"], tasks["exit-handler-1"]
    assert told["dependentTasks"] == ["exit-handler-1"]
    assert told["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert told["inputs"]["parameters"]["status"] == {
        "taskFinalStatus": {"producerTask": "exit-handler-1"}
    }
    assert not told["cachingOptions"].get("enableCache")
    del components[told["componentRef"]["name"]]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    handler = components.pop(inside["componentRef"]["name"])
    (run,) = handler["dag"]["tasks"].values()
    held = components.pop(run["componentRef"]["name"])
    # Every parameter goes in at the handler and on to the pipeline.
    for step, outer in ((inside, "{}"), (run, "pipelinechannel--{}")):
        handed = step["inputs"]["parameters"].items()
        assert {k.removeprefix("pipelinechannel--"): v for k, v in handed} == {
            k: {"componentInputParameter": outer.format(k)} for k in parameters
        }
    root = {**spec["root"], "dag": held["dag"]}
    return {**spec, "root": root, "components": components}


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
@pytest.mark.parametrize(
    ("target", "choice"),
    [
        ("portable", SPOT),
        ("vertex", L4),
        ("vertex-spot", SPOT),
        ("kubeflow", SPOT),
        ("kubeflow", Choice("none")),
    ],
)
def test_the_graph_is_the_committed_one(name, target, choice):
    written = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
    committed = yaml.safe_load(written)
    text = render(name, target, choice)
    assert list(lint(text, kubernetes=target == "kubeflow")) == []
    rendered = list(yaml.safe_load_all(text))
    spec = rendered[0] if target == "portable" else within_handler(rendered[0])
    assert graph(spec) == graph(committed)
    # What Kubernetes alone knows is a document of its own, where there is a network stage.
    network = read_lock()["tensorflow"].reference in written
    assert len(rendered) == (2 if target == "kubeflow" and network else 1)


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_report_the_graph_is_the_committed_one_too(target):
    committed = (ROOT / "pipelines" / "training" / "pipeline.yaml").read_text()
    text = render("training", target, report_failure=False)
    assert graph(next(yaml.safe_load_all(text))) == graph(yaml.safe_load(committed))


def test_the_portable_rendering_is_the_committed_file():
    for name in pipeline_names():
        committed = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
        assert render(name, "portable") == committed


def resources(spec, task="predict"):
    return spec["deploymentSpec"]["executors"][f"exec-{task}"]["container"].get("resources", {})


def pods(choice, name="deepcell_segmentation"):
    """What a rendering for Kubernetes says of its executors, and its specification."""
    spec, platform = documents(name, "kubeflow", choice)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return spec, {name.removeprefix("exec-"): said for name, said in executors.items()}


def test_accelerators_are_named_as_each_platform_does():
    (vertex,) = documents("deepcell_segmentation", "vertex", L4)
    assert resources(vertex)["accelerator"]["resourceType"] == "NVIDIA_L4"
    kubeflow, said = pods(L4)
    assert resources(kubeflow)["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert said == {
        "predict": {
            "nodeSelector": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
            ],
            "emptyDirMounts": [
                {
                    "volumeName": "shm",
                    "mountPath": "/dev/shm",
                    "medium": "Memory",
                    "sizeLimit": "4Gi",
                }
            ],
            "activeDeadlineSeconds": "21600",
        }
    }


def test_what_kubernetes_alone_knows_is_said_of_every_task():
    chosen = choice_of(
        {
            "accelerator": "NVIDIA_L4",
            "spot": "1",
            "retries": "5",
            "hours": "0.5",
            "node_selector": "pool=cells",
            "tolerations": "team=imaging:NoSchedule,example.org/any",
            "shared_memory": "8Gi",
            "volumes": "slides:/data,scratch:/scratch",
            "deepcell_token_secret": "deepcell:key",
        },
        "kubeflow",
    )
    spec, said = pods(chosen)
    everywhere = {
        "nodeSelector": {"labels": {"pool": "cells"}},
        "tolerations": [
            {"key": "team", "operator": "Equal", "value": "imaging", "effect": "NoSchedule"},
            {"key": "example.org/any", "operator": "Exists"},
        ],
        "pvcMount": [
            {
                "mountPath": path,
                "constant": claim,
                "pvcNameParameter": {"runtimeValue": {"constant": claim}},
            }
            for claim, path in (("slides", "/data"), ("scratch", "/scratch"))
        ],
    }
    executors = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    assert set(said) == executors
    for name in executors - {"predict", "fetch-model"}:
        assert said[name] == everywhere, name
    (secret,) = said["fetch-model"].pop("secretAsEnv")
    assert secret["secretName"] == "deepcell"
    assert secret["keyToEnv"] == [{"secretKey": "key", "envVar": "DEEPCELL_ACCESS_TOKEN"}]
    assert not secret.get("optional")
    assert said["fetch-model"] == everywhere
    predict = said["predict"]
    assert predict["nodeSelector"]["labels"] == {
        "pool": "cells",
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-spot": "true",
    }
    assert len(predict["tolerations"]) == 4
    assert predict["emptyDirMounts"][0]["sizeLimit"] == "8Gi"
    assert predict["activeDeadlineSeconds"] == "1800"
    assert predict["pvcMount"] == everywhere["pvcMount"]


def test_a_gpu_computes_in_the_form_of_the_image_with_cuda():
    local = read_lock()
    for target in ("vertex", "kubeflow"):
        for choice, form in ((L4, "tensorflow-cuda"), (Choice("none"), "tensorflow")):
            executors = documents("deepcell_segmentation", target, choice)[0]["deploymentSpec"]
            images = {
                name: executor["container"]["image"]
                for name, executor in executors["executors"].items()
            }
            assert images.pop("exec-predict") == local[form].reference
            assert set(images.values()) == {local["imaging"].reference}
    assert "cuda" not in render("deepcell_segmentation", "portable", L4)


def test_single_stages_can_have_other_machines():
    chosen = choice_of({"resources": "measure=8/64G,cpu=2/8G,predict=16/60G"})
    (spec,) = documents("deepcell_segmentation", "vertex", chosen)

    def asked(task):
        found = resources(spec, task)
        return found["resourceCpuLimit"], found["resourceMemoryLimit"]

    assert asked("measure") == ("8", "64G")
    assert asked("metrics") == asked("report-failure") == ("2", "8G")
    assert asked("predict") == ("16", "60G")
    assert resources(spec)["accelerator"]["resourceType"] == "NVIDIA_TESLA_T4"


def test_the_job_of_an_exact_machine_is_what_was_chosen():
    chosen = choice_of({"boot_disk_gb": "500", "hours": "1.5", "accelerator": "NVIDIA_L4"})
    assert chosen.exact
    (spec,) = documents("training", "vertex-spot", chosen)
    parameters = spec["components"]["comp-train-segmenter"]["inputDefinitions"]["parameters"]
    told = {key: value.get("defaultValue") for key, value in parameters.items()}
    (pool,) = told["worker_pool_specs"]
    assert pool["disk_spec"] == {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 500}
    assert pool["container_spec"]["image_uri"] == read_lock()["tensorflow-cuda"].reference
    assert (told["timeout"], told["strategy"]) == ("5400s", "STANDARD")
    assert "retryPolicy" not in yaml.safe_dump(spec["components"])


def test_the_secrets_name_alone_is_told_and_to_one_task_alone():
    name = "projects/p/secrets/deepcell/versions/latest"
    (spec,) = documents("deepcell_segmentation", "vertex", Choice(token_secret=name))
    told = {
        key: {each["name"]: each["value"] for each in executor["container"].get("env", [])}
        for key, executor in spec["deploymentSpec"]["executors"].items()
    }
    assert told.pop("exec-fetch-model")["DEEPCELL_TOKEN_SECRET"] == name
    assert all(variables.keys() <= {"CELLMILL_MACHINE"} for variables in told.values())
    assert "DEEPCELL_TOKEN_SECRET" not in render("deepcell_segmentation", "vertex")


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "portable"])
def test_every_task_is_told_below_which_places_stores_may_lie(target):
    given = {"pipeline_root": "gs://b/runs/", "store": "gs://b/kept", "accelerator": "NVIDIA_L4"}
    (spec, *_) = documents("slide_segmentation", target, choice_of(given, target.split("-")[0]))
    told = {
        key: {each["name"]: each["value"] for each in executor["container"].get("env", [])}
        for key, executor in spec["deploymentSpec"]["executors"].items()
    }
    if target == "vertex-spot":
        inputs = spec["components"]["comp-predict-shard"]["inputDefinitions"]["parameters"]
        (pool,) = inputs["worker_pool_specs"]["defaultValue"]
        env = pool["container_spec"]["env"]
        told["exec-predict-shard"] = {each["name"]: each["value"] for each in env}
    places = "gs://b/runs\ngs://b/kept"
    assert {variables.get("CELLMILL_STORES") for variables in told.values()} == {places}
    assert "exec-predict-shard" in told


def test_without_an_accelerator_none_is_asked_for():
    for target in ("vertex", "kubeflow"):
        spec = documents("deepcell_segmentation", target, Choice("none"))[0]
        assert "accelerator" not in resources(spec)
        assert resources(spec)["resourceCpuLimit"]


def test_only_what_can_be_taken_away_is_tried_again():
    for target, choice in (("vertex-spot", SPOT), ("kubeflow", SPOT)):
        spec = documents("deepcell_segmentation", target, choice)[0]
        dags = [c["dag"]["tasks"] for c in spec["components"].values() if "dag" in c]
        retried = {
            n: t["retryPolicy"] for tasks in dags for n, t in tasks.items() if "retryPolicy" in t
        }
        gpu = PORTABLE["gpu"]
        assert retried == {
            "predict": {
                "maxRetryCount": gpu.retries,
                "backoffDuration": gpu.backoff,
                "backoffFactor": 2.0,
                "backoffMaxDuration": "3600s",
            }
        }
        assert "retryPolicy" not in spec["root"]["dag"]["tasks"]["exit-handler-1"]
    assert "retryPolicy" not in render("deepcell_segmentation", "vertex", L4)


def test_images_are_those_of_the_lock_everywhere():
    images = {
        n: ContainerImage(f"r.example/{n}", __version__, "sha256:" + "1" * 64) for n in read_lock()
    }
    for target in TARGETS:
        text = render("deepcell_segmentation", target, SPOT, images)
        assert "localhost/" not in text
        for name in ("imaging", "tensorflow" if target == "portable" else "tensorflow-cuda"):
            assert images[name].reference in text
    del images["tensorflow-cuda"]
    with pytest.raises(BadInput, match=r"image 'tensorflow-cuda'.*ACCELERATOR=none"):
        render("deepcell_segmentation", "vertex", L4, images)
    assert render("deepcell_segmentation", "vertex", Choice("none"), images)


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
        ("vertex-spot", Choice("none", hours=1), "HOURS: expected an ACCELERATOR"),
        ("vertex-spot", Choice("none", boot_disk_gb=99), "BOOT_DISK_GB: expected an ACCELERATOR"),
        (
            "vertex-spot",
            Choice(resources=(("predict", Resources("8", "30G")),)),
            "RESOURCES: expected MACHINE_TYPE for 'predict'",
        ),
        ("vertex", Choice(resources=(("sing", Resources("8", "30G")),)), "RESOURCES: .*measure"),
        (
            "kubeflow",
            Choice(
                "NVIDIA_L4",
                pods=Pods(node_selector=(("cloud.google.com/gke-accelerator", "nvidia-a100"),)),
            ),
            "NODE_SELECTOR: expected cloud.google.com/gke-accelerator=nvidia-l4",
        ),
    ],
)
def test_what_cannot_be_is_one_line(target, choice, says):
    with pytest.raises(BadInput, match=says) as caught:
        render("deepcell_segmentation", target, choice)
    assert "\n" not in str(caught.value)


def test_a_second_machine_is_found_for_more_of_them():
    assert machine_for(accelerator("NVIDIA_L4"), 2) == "g2-standard-24"


@pytest.mark.parametrize(
    ("target", "key", "value", "says"),
    [
        ("vertex", "boot_disk_gb", "10", "a whole number from 50"),
        ("vertex", "boot_disk_gb", "large", "a whole number from 50"),
        ("vertex", "hours", "0", "a number above 0"),
        ("vertex", "hours", "nan", "a number above 0"),
        ("vertex", "hours", "1000", "at most 168"),
        ("vertex", "retries", "3", "SPOT=1 beside it"),
        ("vertex", "accelerators", "0", "a whole number from 1"),
        ("vertex", "resources", "measure=8", "stage=processors/memory"),
        ("vertex", "resources", "measure=eight/8G", "stage=processors/memory"),
        ("vertex", "node_selector", "a=b", "none on vertex"),
        ("vertex", "volumes", "a:/b", "none on vertex"),
        ("vertex", "deepcell_token_secret", "a-token", "projects/…/secrets/…/versions/…"),
        ("kubeflow", "boot_disk_gb", "100", "none on kubeflow"),
        ("kubeflow", "node_selector", "pool", "label=value"),
        ("kubeflow", "tolerations", "a=b:Never", "key=value:effect"),
        ("kubeflow", "shared_memory", "much", "a size, as 8Gi"),
        ("kubeflow", "volumes", "slides", "claim:/path"),
        ("kubeflow", "volumes", "slides:data", "claim:/path"),
        ("kubeflow", "deepcell_token_secret", "A Token", "a Secret's name"),
    ],
)
def test_a_setting_of_another_form_is_one_line(target, key, value, says):
    with pytest.raises(BadInput, match=f"^{key.upper()}: expected ") as caught:
        choice_of({key: value}, target)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if key == "deepcell_token_secret":
        assert value not in str(caught.value), "it may be the token itself"


def test_settings_that_are_not_given_are_the_tables():
    for target in ("vertex", "kubeflow"):
        assert choice_of({}, target) == Choice()
    chosen = choice_of({"tolerations": "a=b:NoExecute"}, "kubeflow")
    assert chosen.pods.tolerations == (Toleration("a", "b", "NoExecute"),)
