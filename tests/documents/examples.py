"""The examples of a document: its fenced blocks, what each needs, and running them.

A block of `python` or `console` is run, in document order, in one working folder a document, so
that a later example uses the files of an earlier one. A comment on the line before the fence says
what it needs, or why it is not run:

    <!-- example: needs tensorflow -->      the extra of that name
    <!-- example: clone -->                 a clone of the repository
    <!-- example: cloud -->                 an account, or a machine elsewhere
    <!-- example: shown only: REASON -->    nothing would come of running it

Other languages (`json`, `text`, …) are no examples; a block that is a shell's or Python's by
another name (`bash`, `pycon`) is refused, so that none is left out by a slip.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LANGUAGES = ("python", "console")
_OTHER_NAMES = ("", "bash", "sh", "shell", "zsh", "py", "python3", "pycon", "shell-session")
_FENCE = re.compile(r"^(```+|~~~+)\s*([\w+-]*)")
_COMMENT = re.compile(r"^<!-- example: (.*) -->$")
_TIMEOUT_S = 300

Kind = Literal["run", "clone", "cloud", "shown only"]


class WrongExample(Exception):
    """A document's example cannot be understood, or failed."""


@dataclass(frozen=True)
class Example:
    """One block of a document.

    Attributes:
        place: `document:line` of its first line of code.
        language: `python` or `console`.
        code: the block's text.
        kind: whether it is run, and if not, why.
        extra: the extra of `setup.cfg` that it needs; empty is none.
    """

    place: str
    language: str
    code: str
    kind: Kind = "run"
    extra: str = ""


def examples_of(text: str, document: str) -> list[Example]:
    """Find the examples of a document, in order.

    Args:
        text: Markdown.
        document: its name, for messages.

    Raises:
        WrongExample: a fence is not closed, its language has another name, or a comment says
            nothing that is known or stands before no block.
    """
    found: list[Example] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        place = f"{document}:{number + 1}"
        comment = _COMMENT.match(lines[number].strip())
        if comment:
            number += 1
        elif "<!-- example" in lines[number]:
            raise WrongExample(f"{place}: expected '<!-- example: … -->' alone on its line")
        fence = _FENCE.match(lines[number].lstrip()) if number < len(lines) else None
        if not fence:
            if comment:
                raise WrongExample(f"{place}: expected a fenced block after the comment")
            number += 1
            continue
        end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == fence[1]), None)
        if end is None:
            raise WrongExample(f"{place}: the block is not closed")
        language = fence[2]
        if language in _OTHER_NAMES:
            raise WrongExample(
                f"{place}: expected a block of {' or '.join(LANGUAGES)} (or of what is not run: "
                f"text, json, …), found '{language}'"
            )
        if language in LANGUAGES:
            kind, extra = _needs(comment[1] if comment else "", place)
            indent = len(lines[number]) - len(lines[number].lstrip())
            code = "\n".join(line[indent:] for line in lines[number + 1 : end]) + "\n"
            found.append(Example(f"{document}:{number + 2}", language, code, kind, extra))
        elif comment:
            raise WrongExample(f"{place}: a block of {language} is not run in any case")
        number = end + 1
    return found


def _needs(comment: str, place: str) -> tuple[Kind, str]:
    match comment.split():
        case []:
            return "run", ""
        case ["needs", extra]:
            return "run", extra
        case ["clone"]:
            return "clone", ""
        case ["cloud"]:
            return "cloud", ""
        case ["shown", "only:", _, *_]:
            return "shown only", ""
    raise WrongExample(f"{place}: expected needs EXTRA, clone, cloud or shown only: REASON")


def run_example(example: Example, folder: Path, environment: Path) -> None:
    """Run an example as its reader would.

    Args:
        example: of `python`, run by itself; or of `console`, whose commands must all succeed.
        folder: where.
        environment: the virtual environment, whose commands come first.

    Raises:
        WrongExample: it failed, or did not end.
    """
    command = {
        "python": [str(environment / "bin" / "python"), "-c", example.code],
        "console": ["bash", "-euo", "pipefail", "-c", example.code],
    }[example.language]
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    variables |= {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(environment),
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise WrongExample(f"{example.place}: did not end within {_TIMEOUT_S} s") from None
    if done.returncode:
        raise WrongExample(
            f"{example.place}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )


def make_calls(code: str) -> list[tuple[str, list[str]]]:
    """The calls of make in a console block: each one's target and the settings that it names."""
    calls = []
    for line in code.replace("\\\n", " ").splitlines():
        match re.findall(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""", line):
            case ["make", target, *settings]:
                calls.append((target, [setting.partition("=")[0] for setting in settings]))
    return calls
