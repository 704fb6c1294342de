"""Finds what neither kfp nor Vertex AI's client does in a compiled YAML.

`python -m launch.compiling.lint_ir [--release] FILE …`; by default all that is committed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import ParseDict, ParseError
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig

from cellmill.terminal import say
from launch import ROOT
from launch.compiling.lint_kinds import lint_kinds
from pipelines.accelerators import ACCELERATORS

#: What Vertex AI takes as a pipeline's specification.
MOST_BYTES = 4 * 1024 * 1024
#: Images of platforms, which name them by tag.
VENDORS = ("gcr.io/ml-pipeline/google-cloud-pipeline-components:",)
_GPU_NAMES = {*ACCELERATORS, "nvidia.com/gpu"}
#: Variables of this kind get their value from a secret, never from the specification.
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL", re.I)
_SECRETS_NAME = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
_INSTALLS = re.compile(r"\b(pip3?|uv|conda|apt-get)\s+install\b")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
}


def lint(text: str, *, release: bool = False, kubernetes: bool = False) -> Iterator[str]:
    """Yield what is wrong with a compiled YAML, a line each.

    Args:
        text: the YAML.
        release: images must be pinned by digest.
        kubernetes: a second document, of Kubernetes' settings, is wanted.
    """
    if len(text.encode()) > MOST_BYTES:
        yield f"the file has {len(text.encode())} bytes, more than {MOST_BYTES}"
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        yield f"no YAML: {' '.join(str(error).split())}"
        return
    if len(documents) > 1 and not kubernetes:
        yield f"{len(documents)} YAML documents: Vertex AI takes one"
    first = documents[0] if documents else None
    spec: dict[str, Any] = first if isinstance(first, dict) else {}
    for key in ("root", "deploymentSpec"):
        if not isinstance(spec.get(key), dict):
            yield f"no compiled pipeline: it has no '{key}'"
            return
    components, executors = spec.get("components", {}), spec["deploymentSpec"].get("executors", {})
    try:
        ParseDict(spec["deploymentSpec"], PipelineDeploymentConfig())
    except ParseError as error:
        yield f"deploymentSpec: {' '.join(str(error).split())}"
        return
    if "dag" in spec["root"]:
        yield from _dag("root", spec["root"], components)
        yield from lint_kinds(spec)
    yield from _cached({"root": spec["root"], **components}, executors)
    for name, component in components.items():
        if "dag" in component:
            yield from _dag(name, component, components)
        elif component.get("executorLabel") not in executors:
            yield f"{name}: executor '{component.get('executorLabel')}' is not there"
        for key, declared in _parameters(component).items():
            if "defaultValue" in declared and not _is(declared, declared["defaultValue"]):
                yield f"{name}: the default of '{key}' is no {declared['parameterType']}"
    for name, executor in executors.items():
        if "container" in executor:
            yield from _container(name, executor["container"], release)
            yield from _secrets(name, executor["container"].get("env", []))
    yield from _pools(components, release)


def _dag(name: str, owner: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    tasks = owner["dag"]["tasks"]
    for task, used in tasks.items():
        where = f"{name}: task '{task}'"
        reference = used["componentRef"]["name"]
        if reference not in components:
            yield f"{where}: component '{reference}' is not there"
            continue
        for other in used.get("dependentTasks", []):
            if other not in tasks:
                yield f"{where}: depends on '{other}', which is not there"
        component = components[reference]
        given = used.get("inputs", {})
        loops = [used.get(k, {}) for k in ("parameterIterator", "artifactIterator")]
        items = {loop["itemInput"] for loop in loops if loop}
        for loop in filter(None, loops):
            if (over := loop["items"].get("inputParameter")) and over not in given.get(
                "parameters", {}
            ):
                yield f"{where}: loops over '{over}', which is not given"
        for kind in ("artifacts", "parameters"):
            declared = component.get("inputDefinitions", {}).get(kind, {})
            for key, about in declared.items():
                if not about.get("isOptional") and key not in {*given.get(kind, {}), *items}:
                    yield f"{where}: input '{key}' is required and not given"
            for key, source in given.get(kind, {}).items():
                if key not in declared:
                    yield f"{where}: '{reference}' has no input '{key}'"
                yield from _source(where, key, source, owner, components)
                yield from _type(where, key, source, declared.get(key, {}), owner, components)
    yield from _outputs(name, owner, components)


def _outputs(name: str, owner: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    tasks = owner["dag"]["tasks"]
    outputs = owner["dag"].get("outputs", {})
    wanted = [
        (key, "artifacts", selector["producerSubtask"], selector["outputArtifactKey"])
        for key, about in outputs.get("artifacts", {}).items()
        for selector in about.get("artifactSelectors", [])
    ]
    for key, about in outputs.get("parameters", {}).items():
        several = about.get("valueFromOneof", {}).get("parameterSelectors", [])
        for selector in filter(None, [about.get("valueFromParameter"), *several]):
            made = selector["producerSubtask"], selector["outputParameterKey"]
            wanted.append((key, "parameters", *made))
    for key, kind, task, out in wanted:
        maker = components.get(tasks.get(task, {}).get("componentRef", {}).get("name"), {})
        if out not in maker.get("outputDefinitions", {}).get(kind, {}):
            yield f"{name}: output '{key}' comes from '{task}.{out}', which is not there"


def _cached(owners: Mapping[str, Any], executors: Mapping[str, Any]) -> Iterator[str]:
    for name, owner in owners.items():
        for task, used in owner.get("dag", {}).get("tasks", {}).items():
            component = owners.get(used["componentRef"]["name"], {})
            container = executors.get(component.get("executorLabel"), {}).get("container", {})
            image = container.get("image", "")
            if not used.get("cachingOptions", {}).get("enableCache") or not image:
                continue
            if "@sha256:" not in image and not image.startswith(VENDORS):
                yield f"{name}: task '{task}': is cached, and '{image}' is not pinned by digest"


def _source(
    where: str,
    key: str,
    source: Mapping[str, Any],
    owner: Mapping[str, Any],
    components: Mapping[str, Any],
) -> Iterator[str]:
    outer = owner.get("inputDefinitions", {})
    for kind in ("Artifact", "Parameter"):
        plural = f"{kind.lower()}s"
        if (wanted := source.get(f"componentInput{kind}")) and wanted not in outer.get(plural, {}):
            yield f"{where}: input '{key}' comes from '{wanted}', which is not there"
        if output := source.get(f"taskOutput{kind}"):
            task, out = output["producerTask"], output[f"output{kind}Key"]
            made = owner["dag"]["tasks"].get(task)
            maker = components.get(made["componentRef"]["name"], {}) if made else {}
            if out not in maker.get("outputDefinitions", {}).get(plural, {}):
                yield f"{where}: input '{key}' comes from '{task}.{out}', which is not there"


def _type(
    where: str,
    key: str,
    source: Mapping[str, Any],
    declared: Mapping[str, Any],
    owner: Mapping[str, Any],
    components: Mapping[str, Any],
) -> Iterator[str]:
    if "parameterType" not in declared:
        return
    wanted = declared["parameterType"]
    if outer := source.get("componentInputParameter"):
        found = _parameters(owner).get(outer, {}).get("parameterType", wanted)
        # A loop hands on an item of what it is given, which has a type of its own.
        if found != wanted and "parameterExpressionSelector" not in source:
            yield f"{where}: input '{key}' is {wanted}, what is given is {found}"
    if made := source.get("taskOutputParameter"):
        maker = owner["dag"]["tasks"].get(made["producerTask"], {}).get("componentRef", {})
        outputs = components.get(maker.get("name"), {}).get("outputDefinitions", {})
        about = outputs.get("parameters", {}).get(made["outputParameterKey"], {})
        found = about.get("parameterType", wanted)
        if found != wanted and "parameterExpressionSelector" not in source:
            yield f"{where}: input '{key}' is {wanted}, what is given is {found}"
    if "runtimeValue" in source and "constant" in source["runtimeValue"]:
        value = source["runtimeValue"]["constant"]
        if not _is(declared, value) and "{{$" not in str(value):
            yield f"{where}: input '{key}' is {wanted}, what is given is {json.dumps(value)}"


def _container(name: str, container: Mapping[str, Any], release: bool) -> Iterator[str]:
    yield from _image(name, container.get("image", ""), release)
    yield from _command(name, container)
    gpu = container.get("resources", {}).get("accelerator", {})
    kind, count = gpu.get("resourceType", ""), int(gpu.get("resourceCount", 0) or 0)
    if kind and kind not in _GPU_NAMES:
        yield f"{name}: accelerator '{kind}' is none of {', '.join(sorted(_GPU_NAMES))}"
    elif kind in ACCELERATORS and not any(
        count in counts for counts in ACCELERATORS[kind].machines.values()
    ):
        yield f"{name}: no machine carries {count} {kind}"


def _command(name: str, container: Mapping[str, Any]) -> Iterator[str]:
    command = " ".join(map(str, [*container.get("command", []), *container.get("args", [])]))
    if _INSTALLS.search(command):
        yield f"{name}: its command installs packages"


def _secrets(name: str, variables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for variable in variables:
        value = variable.get("value", "")
        if _SECRET.search(variable["name"]) and value and not _SECRETS_NAME.fullmatch(value):
            yield f"{name}: the variable {variable['name']} holds a value; name a secret instead"


def _pools(components: Mapping[str, Any], release: bool) -> Iterator[str]:
    for name, component in components.items():
        pools = _parameters(component).get("worker_pool_specs", {}).get("defaultValue", [])
        for pool in pools:
            container = pool["container_spec"]
            yield from _image(name, container["image_uri"], release)
            yield from _command(name, container)
            yield from _secrets(name, container.get("env", []))
            machine = pool["machine_spec"]
            kind, count = machine.get("accelerator_type", ""), machine.get("accelerator_count", 0)
            if kind and (
                kind not in ACCELERATORS
                or int(count) not in ACCELERATORS[kind].machines.get(machine["machine_type"], ())
            ):
                yield f"{name}: {machine['machine_type']} does not carry {int(count)} {kind}"


def _image(name: str, image: str, release: bool) -> Iterator[str]:
    if not image:
        yield f"{name}: it names no image"
    if release and "@sha256:" not in image and not image.startswith(VENDORS):
        yield f"{name}: image '{image}' is not pinned by digest"


def _parameters(component: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = component.get("inputDefinitions", {}).get("parameters", {})
    return found


def _is(declared: Mapping[str, Any], value: Any) -> bool:
    kind = declared["parameterType"]
    if kind == "NUMBER_INTEGER" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,))) and (
        isinstance(value, bool) == (kind == "BOOLEAN") or kind not in _TYPES
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Lint compiled YAMLs; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.compiling.lint_ir", description=main.__doc__
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--release", action="store_true", help="images must be pinned by digest")
    given = parser.parse_args(argv)
    committed = [*ROOT.glob("components/*/component.yaml"), *ROOT.glob("pipelines/*/pipeline.yaml")]
    wrong = 0
    for path in given.files or sorted(committed):
        kubernetes = path.name.endswith(".kubeflow.yaml")
        for line in lint(path.read_text(), release=given.release, kubernetes=kubernetes):
            say(f"{path}: {line}", to=sys.stderr)
            wrong += 1
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
