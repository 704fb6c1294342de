"""The command line: a stage by hand, its flags read from its signature and docstring."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cellmill.contract.runtime import Bound, run_executor_input, run_stage
from cellmill.contract.spec import ParameterSpec, StageSpec, stage_names, stage_summary
from cellmill.contract.types import Metrics, Record
from cellmill.errors import BadInput, CellmillError
from cellmill.version import __version__

EXIT_OK = 0
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the flags in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as ``CellmillError``."""
        raise CellmillError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, without the program's name; those of the process by default.

    Returns:
        0 when all went well; 2 when an input or a parameter is bad, with one line on stderr;
        130 after Ctrl-C. Anything else is raised, which ends the process with a traceback and 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    try:
        if name in ("", "-h", "--help"):
            print(_overview())
        elif name in ("-V", "--version"):
            print(f"cellmill {__version__}")
        else:
            _run(name, arguments[1:])
    except CellmillError as error:
        stage = f" {name}" if name.replace("-", "_") in stage_names() else ""
        print(f"cellmill{stage}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("cellmill: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


def _overview() -> str:
    names = stage_names()
    width = max(len(n) for n in names)
    lines = [f"  {n:<{width}}  {stage_summary(n)}" for n in names]
    return "\n".join(
        [
            f"cellmill {__version__}: microscopy images of any size in, cells out",
            "",
            "usage: cellmill STAGE [--help] [--FLAG VALUE ...]",
            "",
            "stages:",
            *lines,
        ]
    )


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
            print(f"{key}: {value}")


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
