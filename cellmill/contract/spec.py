"""A stage's interface, read from its function's signature and docstring."""

from __future__ import annotations

import ast
import collections.abc
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cellmill.contract.types import Artifact, Record, TaskFinalStatus
from cellmill.errors import BadInput

#: Where the stages are: found by their files, so that naming them imports none.
_STAGES = Path(__file__).resolve().parent.parent / "stages"

#: Python types of parameters, and what KFP calls them in a compiled component.
PARAMETER_TYPES: dict[type, str] = {
    str: "STRING",
    int: "NUMBER_INTEGER",
    float: "NUMBER_DOUBLE",
    bool: "BOOLEAN",
    list: "LIST",
    dict: "STRUCT",
    TaskFinalStatus: "TASK_FINAL_STATUS",
}


@dataclass(frozen=True)
class ArtifactSpec:
    """An artifact that a stage reads or writes."""

    name: str
    type: type[Artifact]
    description: str
    optional: bool = False
    is_list: bool = False


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter of a stage. ``default`` is ``inspect.Parameter.empty`` where it is required."""

    name: str
    type: type
    default: Any
    description: str
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class StageSpec:
    """What a stage takes and gives.

    Attributes:
        name: its name; its module and its function are called so.
        summary: the first line of its docstring.
        description: the docstring up to ``Args:``.
        inputs: artifacts read.
        outputs: artifacts written.
        parameters: values taken.
        results: values returned (fields of a NamedTuple), by name.
        function: the stage itself.
    """

    name: str
    summary: str
    description: str
    inputs: tuple[ArtifactSpec, ...]
    outputs: tuple[ArtifactSpec, ...]
    parameters: tuple[ParameterSpec, ...]
    results: tuple[ParameterSpec, ...]
    function: Callable[..., Any]

    @classmethod
    def load(cls, name: str) -> StageSpec:
        """Import the stage of that name and read its interface.

        Raises:
            BadInput: there is no stage of that name.
        """
        name = name.replace("-", "_")
        if name not in stage_names():
            raise BadInput("stage", expected=f"one of {', '.join(stage_names())}", found=name)
        module = importlib.import_module(f"cellmill.stages.{name}")
        return cls.of(getattr(module, name))

    @classmethod
    def of(cls, function: Callable[..., Any]) -> StageSpec:
        """Read the interface of a stage function.

        Raises:
            TypeError: the signature is not a stage's; the message says which parameter and why.
        """
        text = inspect.getdoc(function) or ""
        descriptions = _described(text, "Args") | _described(text, "Returns")
        hints = typing.get_type_hints(function, include_extras=True)
        inputs: list[ArtifactSpec] = []
        outputs: list[ArtifactSpec] = []
        parameters: list[ParameterSpec] = []
        for parameter in inspect.signature(function).parameters.values():
            hint = hints[parameter.name]
            description = descriptions.get(parameter.name, "")
            if not description:
                raise TypeError(f"{function.__name__}: '{parameter.name}' is not described")
            direction, inner, optional, is_list = _artifact(hint)
            if direction:
                artifact = ArtifactSpec(parameter.name, inner, description, optional, is_list)
                (inputs if direction == "input" else outputs).append(artifact)
            else:
                kind, choices = _parameter_type(hint, f"{function.__name__}: {parameter.name}")
                parameters.append(
                    ParameterSpec(parameter.name, kind, parameter.default, description, choices)
                )
        returned = hints.get("return")
        results = tuple(
            ParameterSpec(name, _parameter_type(t, name)[0], None, descriptions.get(name, ""))
            for name, t in (typing.get_type_hints(returned).items() if returned else ())
            if returned is not type(None)
        )
        return cls(
            name=function.__name__,
            summary=text.splitlines()[0] if text else "",
            description=re.split(r"\n\s*(?:Args|Returns|Raises):\n", text)[0].strip(),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            parameters=tuple(parameters),
            results=results,
            function=function,
        )

    @property
    def record(self) -> str:
        """The name of the output that is the record, or empty."""
        return next((o.name for o in self.outputs if issubclass(o.type, Record)), "")


def stage_names() -> list[str]:
    """Return the names of all stages, sorted."""
    return sorted(p.stem for p in _STAGES.glob("*.py") if p.stem != "__init__")


def stage_summary(name: str) -> str:
    """Return the first line of a stage's docstring without importing it (nor what it imports)."""
    for node in ast.parse((_STAGES / f"{name}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").split("\n")[0]
    return ""


def _artifact(hint: Any) -> tuple[str, type[Artifact], bool, bool]:
    """Return (direction, type, optional, list); direction is empty for a parameter."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        hint = inner[0]
    if typing.get_origin(hint) is not Annotated:
        return "", Artifact, False, False
    kind, direction = typing.get_args(hint)[:2]
    is_list = typing.get_origin(kind) is list
    return direction, typing.get_args(kind)[0] if is_list else kind, optional, is_list


def _parameter_type(hint: Any, where: str) -> tuple[type, tuple[str, ...]]:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return str, tuple(typing.get_args(hint))
    if origin in (list, collections.abc.Sequence):
        return list, ()
    if origin is dict:
        return dict, ()
    if hint in PARAMETER_TYPES:
        return hint, ()
    raise TypeError(f"{where}: no parameter type of a stage: {hint}")


def _described(text: str, section: str) -> dict[str, str]:
    """Read ``name: text`` items of one section of a Google-style docstring."""
    match = re.search(rf"^{section}:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    if not match:
        return {}
    found: dict[str, str] = {}
    name = ""
    lines = [line for line in match[1].splitlines() if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for line in lines:
        item = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line[indent:])
        if item:
            name = item[1]
            found[name] = item[2].strip()
        elif name:
            found[name] += f" {line.strip()}"
    return found
