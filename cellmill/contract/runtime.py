"""Runs a stage: binds artifacts and parameters by name, checks, and writes what KFP wants back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellmill.arrays import resume
from cellmill.arrays.files import write_text
from cellmill.arrays.folder_lock import InUse
from cellmill.arrays.lease import leases
from cellmill.compute.faults import fault_of
from cellmill.contract.recording import digest, to_json
from cellmill.contract.spec import ArtifactSpec, ParameterSpec, StageSpec
from cellmill.contract.types import Artifact, Metrics, Record, Scalar, TaskFinalStatus
from cellmill.errors import BadInput, CellmillError
from cellmill.version import __version__

METADATA_LIMIT = 500
#: What a failed task leaves in its folder, for who reports the run's failure.
FAILURE_FILE = "failure.json"
#: Under what an artifact's metadata says its kind, from the task that made it to those that read.
_KIND = "kind"
#: Schemes of object stores, and where KFP and Vertex AI mount them.
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/", "file://": "/"}


@dataclass
class Bound:
    """Everything one call of a stage needs, by name."""

    inputs: dict[str, Artifact | list[Artifact] | None] = field(default_factory=dict)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


def run_stage(spec: StageSpec, bound: Bound) -> dict[str, Any]:
    """Run a stage and write its record; its outputs are there whole, or not at all.

    Args:
        spec: the stage.
        bound: its inputs, outputs and parameters.

    Returns:
        The values it returned, by name.

    Raises:
        BadInput: an input is not there, or a parameter is not of its type.
        CellmillError: the stage refused its input.
    """
    values = {p.name: check_parameter(p, bound.parameters) for p in spec.parameters}
    for declared in spec.inputs:
        _check_input(declared, bound.inputs.get(declared.name))
    existed = {name: artifact.path.exists() for name, artifact in bound.outputs.items()}
    try:
        arguments = {i.name: bound.inputs.get(i.name) for i in spec.inputs}
        inputs = _digests(bound)
        work = resume.work(stage=spec.name, version=__version__, parameters=values, inputs=inputs)
        with work, leases(spec.name):
            returned = spec.function(**arguments, **bound.outputs, **values)
        _finish(spec, bound, values, inputs)
    except InUse:
        raise
    except BaseException:
        for name, artifact in bound.outputs.items():
            if not existed[name]:
                _remove(artifact.path)
        raise
    return returned._asdict() if returned is not None else {}


def _check_input(declared: ArtifactSpec, given: Artifact | list[Artifact] | None) -> None:
    if given is None:
        if not declared.optional:
            raise BadInput(f"input '{declared.name}'", expected="a path", found="nothing")
        return
    for artifact in given if isinstance(given, list) else [given]:
        # By hand there is a path and nothing said of it, as with what a stranger's task made.
        kind = artifact.metadata.get(_KIND, "")
        if kind and declared.kinds and kind not in declared.kinds:
            expected = " or ".join(declared.kinds)
            raise BadInput(f"input '{declared.name}'", expected=expected, found=str(kind))
        if not artifact.path.exists():
            raise BadInput(
                f"input '{declared.name}'",
                expected=f"a file or folder at '{artifact.path}'",
                found="nothing there",
            )


def _digests(bound: Bound) -> dict[str, str | list[str]]:
    return {
        name: [digest(a.path) for a in given] if isinstance(given, list) else digest(given.path)
        for name, given in bound.inputs.items()
        if given is not None
    }


def _finish(
    spec: StageSpec,
    bound: Bound,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str | list[str]],
) -> None:
    for name, artifact in bound.outputs.items():
        size = len(json.dumps(_with_kind(artifact)))
        if size > METADATA_LIMIT:
            raise ValueError(f"{spec.name}: metadata of '{name}' has {size} > {METADATA_LIMIT} B")
        if isinstance(artifact, Metrics) and not artifact.path.exists():
            write_text(artifact.path, json.dumps(artifact.metadata, sort_keys=True) + "\n")
        if not isinstance(artifact, Record) and not artifact.path.exists():
            raise RuntimeError(f"{spec.name}: output '{name}' was not written")
    record = bound.outputs.get(spec.record)
    if isinstance(record, Record):
        document = record.document(
            stage=spec.name,
            parameters=parameters,
            inputs=inputs,
            outputs={n: a.path for n, a in bound.outputs.items() if a is not record},
        )
        write_text(record.path, to_json(document))


def _with_kind(artifact: Artifact) -> dict[str, Scalar]:
    return {**artifact.metadata, **({_KIND: artifact.kind} if artifact.kind else {})}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def check_parameter(declared: ParameterSpec, given: Mapping[str, Any]) -> Any:
    """Return a parameter's value as its type, or its default where none is given.

    JSON has one kind of number, so that a whole float is taken for an int.

    Raises:
        BadInput: it is missing, of another type, or not one of the choices.
    """
    what = f"parameter '{declared.name}'"
    if declared.name not in given:
        if declared.required:
            raise BadInput(what, expected=declared.type.__name__, found="nothing")
        return declared.default
    value = given[declared.name]
    if declared.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if declared.type is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if declared.type is TaskFinalStatus and isinstance(value, dict):
        value = TaskFinalStatus(value)
    if not isinstance(value, declared.type) or (isinstance(value, bool) != (declared.type is bool)):
        raise BadInput(what, expected=declared.type.__name__, found=repr(value))
    if declared.choices and value not in declared.choices:
        choices = ", ".join(repr(c) for c in declared.choices)
        raise BadInput(what, expected=f"one of {choices}", found=repr(value))
    return value


def run_executor_input(spec: StageSpec, text: str) -> None:
    """Run a stage as KFP asks: names and places from its executor input, results in its output.

    Args:
        spec: the stage.
        text: the JSON that KFP puts in the place of `{{$}}`.

    Raises:
        BadInput: as `run_stage`; or the text is no executor input.
    """
    try:
        executor = json.loads(text)
        outputs = executor["outputs"]
        output_file = Path(_local(outputs["outputFile"]))
        bound = Bound(
            inputs=_bind_inputs(spec, executor.get("inputs", {}).get("artifacts", {})),
            outputs={o.name: _bind(o, outputs["artifacts"][o.name]) for o in spec.outputs},
            parameters={
                p.name: value
                for p in spec.parameters
                if (value := executor.get("inputs", {}).get("parameterValues", {}).get(p.name))
                is not None
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            "--executor-input",
            expected=f"KFP's JSON with the artifacts of '{spec.name}'",
            found=f"{type(error).__name__}: {error}",
        ) from error
    failure = output_file.with_name(FAILURE_FILE)
    # A task that is tried again may do better.
    with contextlib.suppress(OSError):
        failure.unlink()
    try:
        results = run_stage(spec, bound)
    except Exception as raised:
        with contextlib.suppress(OSError):
            shown = fault_of(raised) or raised
            said = (str(shown).splitlines() or [""])[0]
            kind = "" if isinstance(shown, CellmillError) else f"{type(shown).__name__}: "
            write_text(failure, json.dumps({"stage": spec.name, "message": f"{kind}{said}"}) + "\n")
        raise
    for name, value in results.items():
        if place := outputs.get("parameters", {}).get(name, {}).get("outputFile"):
            text = value if isinstance(value, str) else json.dumps(value)
            write_text(Path(_local(place)), text)
    document = {
        "parameterValues": results,
        "artifacts": {
            name: {
                "artifacts": [
                    {
                        **outputs["artifacts"][name]["artifacts"][0],
                        "uri": artifact.uri,
                        "metadata": _with_kind(artifact),
                    }
                ]
            }
            for name, artifact in bound.outputs.items()
        },
    }
    write_text(output_file, json.dumps(document))


def _bind_inputs(
    spec: StageSpec, given: Mapping[str, Any]
) -> dict[str, Artifact | list[Artifact] | None]:
    bound: dict[str, Artifact | list[Artifact] | None] = {}
    for declared in spec.inputs:
        if declared.name not in given:
            bound[declared.name] = None
        elif declared.is_list:
            bound[declared.name] = [
                _artifact(declared, raw) for raw in given[declared.name]["artifacts"]
            ]
        else:
            bound[declared.name] = _bind(declared, given[declared.name])
    return bound


def _bind(declared: ArtifactSpec, given: Mapping[str, Any]) -> Artifact:
    return _artifact(declared, given["artifacts"][0])


def _artifact(declared: ArtifactSpec, raw: Mapping[str, Any]) -> Artifact:
    uri = raw["uri"]
    return declared.type(Path(_local(uri)), uri, dict(raw.get("metadata", {})))


def _local(uri: str) -> str:
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme).lstrip("/" if mount == "/" else "")
    return uri
