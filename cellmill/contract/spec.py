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

from cellmill.contract.declaration import Declaration, declaration_of
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
    """An artifact that a stage reads or writes.

    Attributes:
        name: its name.
        types: what it is; an input may be one of several.
        description: what is in it.
        optional: whether an input may be left out.
        is_list: whether it is several of them.
    """

    name: str
    types: tuple[type[Artifact], ...]
    description: str
    optional: bool = False
    is_list: bool = False

    @property
    def type(self) -> type[Artifact]:
        """What it is; of several the first by name."""
        return self.types[0]

    @property
    def kinds(self) -> tuple[str, ...]:
        """What cellmill calls it; nothing where anything will do."""
        return tuple(t.kind for t in self.types if t.kind)


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter of a stage. `default` is `inspect.Parameter.empty` where it is required."""

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
        description: the docstring up to `Args:`.
        inputs: artifacts read.
        outputs: artifacts written.
        parameters: values taken.
        results: values returned (fields of a NamedTuple), by name.
        function: the stage itself.
        declaration: what `@stage` said of it; None where the function is not marked.
    """

    name: str
    summary: str
    description: str
    inputs: tuple[ArtifactSpec, ...]
    outputs: tuple[ArtifactSpec, ...]
    parameters: tuple[ParameterSpec, ...]
    results: tuple[ParameterSpec, ...]
    function: Callable[..., Any]
    declaration: Declaration | None = None

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
        descriptions = described(text, "Args") | described(text, "Returns")
        hints = typing.get_type_hints(function, include_extras=True)
        inputs: list[ArtifactSpec] = []
        outputs: list[ArtifactSpec] = []
        parameters: list[ParameterSpec] = []
        for parameter in inspect.signature(function).parameters.values():
            hint = hints[parameter.name]
            description = descriptions.get(parameter.name, "")
            if not description:
                raise TypeError(f"{function.__name__}: '{parameter.name}' is not described")
            direction, kinds, optional, is_list = _artifact(hint)
            if direction:
                artifact = ArtifactSpec(parameter.name, kinds, description, optional, is_list)
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
            declaration=declaration_of(function),
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


def _artifact(hint: Any) -> tuple[str, tuple[type[Artifact], ...], bool, bool]:
    """Return (direction, types, optional, list); direction is empty for a parameter."""
    inner = _alternatives(hint)
    optional = type(None) in inner
    (hint, *others) = (a for a in inner if a is not type(None))
    if others or typing.get_origin(hint) is not Annotated:
        return "", (), False, False
    kind, direction = typing.get_args(hint)[:2]
    is_list = typing.get_origin(kind) is list
    found = _alternatives(typing.get_args(kind)[0] if is_list else kind)
    # Python caches unions by their members, so that the order they are written in is lost.
    return direction, tuple(sorted(found, key=lambda t: t.__name__)), optional, is_list


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or what is none by itself."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


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


def described(text: str, section: str) -> dict[str, str]:
    """Read `name: text` items of one section of a Google-style docstring."""
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
