"""The command line: a stage by hand, its flags read from its signature and docstring."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

from cellmill.compute.faults import fault_of
from cellmill.contract.runtime import Bound, run_executor_input, run_stage
from cellmill.contract.spec import ParameterSpec, StageSpec, stage_names, stage_summary
from cellmill.contract.types import Metrics, Record
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from cellmill.version import __version__

EXIT_OK = 0
EXIT_MACHINE = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the flags in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as `CellmillError`."""
        raise CellmillError(f"{message} (see {self.prog} --help)")


class Command(Protocol):
    """A command that is no stage: called with its arguments, it returns an exit code."""

    @property
    def summary(self) -> str:
        """One line for the list of commands."""
        ...

    def __call__(self, arguments: Sequence[str], /) -> int:
        """Run it; errors are raised."""
        ...


def main(
    argv: Sequence[str] | None = None, commands: Mapping[str, Command] = MappingProxyType({})
) -> int:
    """Run the command line.

    Args:
        argv: the arguments, without the program's name; those of the process by default.
        commands: what there is beside stages, by name.

    Returns:
        0 when all went well; 2 when an input or a parameter is bad, and 1 when the machine refuses
        (a full disk, no memory), each with one line on stderr; 130 after Ctrl-C. Anything else is
        raised, which ends the process with a traceback and 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    try:
        if name in ("", "-h", "--help"):
            for line in _overview(commands):
                say(line)
        elif name in ("-V", "--version"):
            say(f"cellmill {__version__}")
        elif name in commands:
            return commands[name](arguments[1:])
        else:
            _run(name, arguments[1:])
    except Exception as error:
        fault = fault_of(error)
        if not fault and not isinstance(error, CellmillError):
            raise
        known = name in commands or name.replace("-", "_") in stage_names()
        stage = f" {name}" if known else ""
        say(f"cellmill{stage}: {fault or error}", to=sys.stderr)
        return EXIT_MACHINE if fault else EXIT_BAD_INPUT
    except KeyboardInterrupt:
        say("cellmill: interrupted", to=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


def _overview(commands: Mapping[str, Command]) -> list[str]:
    names = stage_names()
    width = max(len(n) for n in [*names, *commands])
    lines = [f"  {n:<{width}}  {stage_summary(n)}" for n in names]
    others = [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    return [
        f"cellmill {__version__}: microscopy images of any size in, cells out",
        "",
        "usage: cellmill STAGE [--help] [--FLAG VALUE ...]",
        "",
        "stages:",
        *lines,
        *(["", "other commands:", *others] if others else []),
    ]


def _run(name: str, arguments: list[str]) -> None:
    spec = StageSpec.load(name)
    if arguments[:1] == ["--executor-input"]:
        if len(arguments) != 2:
            raise BadInput("--executor-input", expected="one JSON text", found=f"{arguments[1:]}")
        run_executor_input(spec, arguments[1])
        return
    values = vars(parser(spec).parse_args(arguments))
    with tempfile.TemporaryDirectory(prefix="cellmill-") as scratch:
        bound = Bound()
        for i in spec.inputs:
            if i.is_list:
                bound.inputs[i.name] = [i.type(Path(p), p) for p in values[i.name]]
            else:
                path = values[i.name]
                bound.inputs[i.name] = i.type(Path(path), path) if path else None
        for o in spec.outputs:
            path = values[o.name] or str(Path(scratch) / o.name)
            bound.outputs[o.name] = o.type(Path(path), path)
        bound.parameters = {
            p.name: _value(p, values[p.name]) for p in spec.parameters if values[p.name] is not None
        }
        for key, value in run_stage(spec, bound).items():
            say(f"{key}: {value}")


def parser(spec: StageSpec) -> argparse.ArgumentParser:
    """Return the parser of a stage's flags."""
    made = OneLineParser(
        prog=f"cellmill {spec.name}",
        description=spec.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    inputs = made.add_argument_group("inputs (paths)")
    for i in spec.inputs:
        inputs.add_argument(
            _flag(i.name),
            dest=i.name,
            metavar="PATH",
            nargs="+" if i.is_list else None,
            required=not i.optional,
            help=_help(i.description),
        )
    outputs = made.add_argument_group("outputs (paths to make)")
    for o in spec.outputs:
        outputs.add_argument(
            _flag(o.name),
            dest=o.name,
            metavar="PATH",
            # By hand the cells are what is wanted; the bookkeeping may be left out.
            required=not issubclass(o.type, (Record, Metrics)),
            help=_help(o.description),
        )
    parameters = made.add_argument_group("parameters")
    for p in spec.parameters:
        default = "" if p.required else f" [{json.dumps(p.default)}]"
        keywords: dict[str, Any] = {"help": _help(p.description + default), "dest": p.name}
        if p.type is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        elif p.type is list:
            keywords |= {"nargs": "+", "metavar": "ITEM", "required": p.required}
        else:
            keywords["required"] = p.required
            if p.choices:
                keywords["metavar"] = "{" + ",".join(c or "''" for c in p.choices) + "}"
            else:
                keywords["metavar"] = p.type.__name__.upper()
        parameters.add_argument(_flag(p.name), **keywords)
    return made


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(text: str) -> str:
    return text.replace("%", "%%")


def _value(declared: ParameterSpec, text: Any) -> Any:
    """Return a flag's text as the parameter's type."""
    what = _flag(declared.name)
    try:
        if declared.type is list:
            if len(text) == 1 and text[0].startswith("["):
                return json.loads(text[0])
            return [json.loads(item) if item.startswith("{") else item for item in text]
        if issubclass(declared.type, dict):
            return json.loads(text)
        if declared.type in (int, float):
            return declared.type(text)
    except ValueError:
        kinds: dict[type, str] = {list: "items or a JSON list", dict: "a JSON object"}
        kind = kinds.get(declared.type, declared.type.__name__)
        raise BadInput(what, expected=kind, found=repr(text)) from None
    return text
