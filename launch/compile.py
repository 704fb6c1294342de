"""Compiles components and pipelines to the YAML files that are committed.

``python -m launch.compile`` writes them; ``--check`` fails, naming each, where they differ.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml
from kfp import compiler, dsl

from launch.caching import uncached
from launch.paths import ROOT
from launch.readmes import component_readme
from pipelines.hardware import PORTABLE, Hardware


def component_names() -> list[str]:
    """Return the names of all components."""
    return sorted(p.parent.name for p in (ROOT / "components").glob("*/component.py"))


def pipeline_names() -> list[str]:
    """Return the names of all pipelines."""
    return sorted(p.parent.name for p in (ROOT / "pipelines").glob("*/pipeline.py"))


def component(name: str) -> dsl.base_component.BaseComponent:
    """Return a component as its ``component.py`` declares it."""
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def pipeline(name: str, hardware: Hardware = PORTABLE) -> dsl.base_component.BaseComponent:
    """Return a pipeline rendered for some hardware."""
    return importlib.import_module(f"pipelines.{name}.pipeline").build(hardware)


def generated_files() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of every file that is generated from the code."""
    hardware = hardware_by_component()
    for name in component_names():
        folder = ROOT / "components" / name
        declared = component(name)
        text = uncached(to_yaml(declared))
        readme = component_readme(name, declared.description or "", text, hardware.get(name, ""))
        yield folder / "component.yaml", text
        yield folder / "README.md", readme
    for name in pipeline_names():
        yield ROOT / "pipelines" / name / "pipeline.yaml", uncached(to_yaml(pipeline(name)))


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


def to_yaml(compiled: dsl.base_component.BaseComponent) -> str:
    """Return what kfp's compiler writes of a component or a pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.yaml"
        compiler.Compiler().compile(compiled, str(path))
        return path.read_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Write the generated files, or with ``--check`` say which are out of date (then 1)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on drift")
    check = parser.parse_args(argv).check
    act: Callable[[Path, str], bool] = _differs if check else _write
    changed = [path.relative_to(ROOT) for path, text in generated_files() if act(path, text)]
    for path in changed:
        print(f"{path}: {'out of date (make compile)' if check else 'written'}")
    return int(check and bool(changed))


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def _write(path: Path, text: str) -> bool:
    changed = _differs(path, text)
    if changed:
        path.write_text(text)
    return changed


if __name__ == "__main__":
    sys.exit(main())
