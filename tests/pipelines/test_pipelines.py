"""What the compiled pipelines ask for, and what they leave behind."""

import importlib

import pytest
import yaml
from google.protobuf import json_format

from launch import ROOT
from launch.compiling.compiled import pipeline, pipeline_names
from launch.images.environments import image_name
from launch.local.running import images_of
from pipelines import tail
from pipelines.hardware import PORTABLE, Machine

NAMES = pipeline_names()
NETWORK_STAGES = {
    *("predict", "predict-shard", "train-segmenter"),
    *("train-style-transfer", "transfer-style"),
}


def compiled(name):
    return yaml.safe_load((ROOT / "pipelines" / name / "pipeline.yaml").read_text())


def executors(document):
    return document["deploymentSpec"]["executors"]


@pytest.mark.parametrize("name", NAMES)
def test_only_network_stages_ask_for_a_gpu(name):
    for label, executor in executors(compiled(name)).items():
        resources = executor["container"]["resources"]
        stage = label.removeprefix("exec-").rstrip("-0123456789")
        assert ("accelerator" in resources) == (stage in NETWORK_STAGES), stage
        assert resources["resourceCpuLimit"]
        assert resources["resourceMemoryLimit"]


@pytest.mark.parametrize("name", NAMES)
def test_hardware_is_chosen_when_compiling(name):
    other = {**PORTABLE, "gpu": Machine("12", "48G", "NVIDIA_L4", 2)}
    found = executors(json_format.MessageToDict(pipeline(name, other).pipeline_spec))
    asked = [e["container"]["resources"] for k, e in found.items() if "accelerator" in str(e)]
    stages = {label.removeprefix("exec-").rstrip("-0123456789") for label in found}
    assert bool(asked) == bool(stages & NETWORK_STAGES)
    for resources in asked:
        assert resources["accelerator"]["resourceType"] == "NVIDIA_L4"
        assert resources["accelerator"]["resourceCount"] == "2"


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_ours_and_has_a_lock(name):
    path = ROOT / "pipelines" / name / "pipeline.yaml"
    assert images_of(path)
    for image in images_of(path):
        assert (ROOT / "images" / image_name(image) / "requirements.lock").exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_table_is_an_output(name):
    table = importlib.import_module(f"pipelines.{name}.pipeline").OUTPUTS
    outputs = compiled(name)["root"]["outputDefinitions"]["artifacts"]
    assert {row.output for row in table} == set(outputs)
    assert len({row.name for row in table}) == len(table)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_output_is_described(name):
    root = compiled(name)["root"]
    for key, value in root["inputDefinitions"]["parameters"].items():
        assert value.get("description"), key
    for key, value in root["outputDefinitions"]["artifacts"].items():
        assert value.get("description"), key


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_labels_is_the_same_everywhere(name):
    """A pipeline with label images ends in the tail: its rows, outputs and tasks, and its own."""
    module = importlib.import_module(f"pipelines.{name}.pipeline")
    outputs = compiled(name)["root"]["outputDefinitions"]["artifacts"]
    if "label_images" not in outputs:
        assert not set(module.OUTPUTS) & set(tail.OUTPUTS)
        return
    assert set(tail.OUTPUTS) <= set(module.OUTPUTS)
    assert set(tail.Outputs._fields) <= set(outputs)
    run = {label.removeprefix("exec-") for label in executors(compiled(name))}
    assert {"export-labels", "measure", "metrics", "report", "summarize"} <= run
