"""Components and pipelines by name, as objects and as YAML."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import yaml
from kfp import compiler, dsl

from launch import ROOT
from pipelines.hardware import PORTABLE, Hardware


def component_names() -> list[str]:
    """Return the names of all components."""
    return sorted(p.parent.name for p in (ROOT / "components").glob("*/component.py"))


def pipeline_names() -> list[str]:
    """Return the names of all pipelines."""
    return sorted(p.parent.name for p in (ROOT / "pipelines").glob("*/pipeline.py"))


def component(name: str) -> dsl.base_component.BaseComponent:
    """Return a component as its `component.py` declares it."""
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def pipeline(name: str, hardware: Hardware = PORTABLE) -> dsl.base_component.BaseComponent:
    """Return a pipeline rendered for some hardware."""
    return importlib.import_module(f"pipelines.{name}.pipeline").build(hardware)


def to_yaml(compiled: dsl.base_component.BaseComponent) -> str:
    """Return what kfp's compiler writes of a component or a pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.yaml"
        compiler.Compiler().compile(compiled, str(path))
        return path.read_text()


def hardware_by_component() -> dict[str, str]:
    """Say for each component what this library's pipelines ask for, for people."""
    found: dict[str, str] = {}
    for name in pipeline_names():
        executors = yaml.safe_load(to_yaml(pipeline(name)))["deploymentSpec"]["executors"]
        for label, executor in executors.items():
            asked = executor["container"]["resources"]
            gpu = asked.get("accelerator", {})
            text = f"{asked['resourceCpuLimit']} processors, {asked['resourceMemoryLimit']} memory"
            if gpu:
                text += f", {gpu['resourceCount']} {gpu['resourceType']} (a CPU will do)"
            found[label.removeprefix("exec-").replace("-", "_")] = text
    return found
