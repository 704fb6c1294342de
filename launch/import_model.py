"""Brings a network in, in its framework's own environment: `make import-model MODEL=… OUTPUT=…`.

What is done is the stage `import_model`; here the framework is found, and its environment made.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput, CellmillError
from cellmill.io.uris import local_path
from cellmill.models.importing.bioimage_package import description_in
from cellmill.models.importing.bringing import plain_package
from cellmill.models.importing.frameworks import (
    FRAMEWORKS,
    find_framework,
    framework_of,
    is_one_s_own,
)
from cellmill.models.importing.interface import Framework
from cellmill.models.published import fetch_files, is_published_name, published
from cellmill.terminal import say
from launch import ROOT
from launch.images.environments import environment
from launch.runs.models import absolute

#: What the stage is told as the user said it.
_PASSED = ("name", "version", "compartment", "mpp", "licence", "citation", "description")
#: As they are seen from any folder.
_PLACES = ("tiles", "size_model")


def main(argv: Sequence[str] | None = None) -> int:
    """Bring a network in; return the exit code of the stage, or 2 with one line on stderr."""
    parser = OneLineParser(prog="launch.import_model", allow_abbrev=False)
    parser.add_argument(
        "source", help="path or URI of the framework's own files, or cellpose:cyto3 and the like"
    )
    parser.add_argument("--output", default="", help="the model's folder [models/ and its name]")
    parser.add_argument("--framework", default="", help=f"one of {', '.join(FRAMEWORKS)}")
    for name in (*_PASSED, *_PLACES):
        parser.add_argument(f"--{name}", default="", help="see cellmill import_model --help")
    try:
        given = vars(parser.parse_args(argv))
        framework = _framework(given["source"], given["framework"])
        plain = given["source"].split("?")[0].rstrip("/").rsplit("/", 1)[-1].split(".")[0]
        plain = plain.split(":")[-1] if is_published_name(plain) else plain
        name = given["name"] or plain
        output = Path(given["output"] or Path("models", name)).absolute()
        command = [str(environment(framework.image)), "-m", "cellmill", "import_model"]
        command += ["--framework", framework.name]
        command += ["--model", str(output), "--record", f"{output}.record.json"]
        for key in (*_PASSED, *_PLACES):
            value = absolute(given[key]) if key in _PLACES else given[key]
            command += [f"--{key.replace('_', '-')}", value] if value else []
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "PYTHONPATH": str(ROOT)}
        with _source(given["source"]) as source:
            command += ["--source", source]
            done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, check=False)
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    if not done.returncode:
        say(f"{output}: {framework.title}; use it by MODEL={output}")
    return done.returncode


@contextlib.contextmanager
def _source(given: str) -> Iterator[str]:
    """What the stage is given; of a bioimage.io package a copy that needs no reader of YAML."""
    path = fetch_files(published(given)) if is_published_name(given) else local_path(given)
    if path is None or not description_in(path):
        yield absolute(given)
        return
    with tempfile.TemporaryDirectory(prefix="cellmill-package-") as folder:
        yield str(plain_package(path, Path(folder, path.name.removesuffix(".zip"))))


def _framework(source: str, name: str) -> Framework:
    """The framework that is named, or that of a published network or of local files."""
    if is_published_name(source):
        wanted = published(source)
        return framework_of(fetch_files(wanted), wanted.framework)
    if name:
        return find_framework(name)
    path = local_path(source)
    if path is not None and not path.exists():
        raise BadInput(f"model '{source}'", expected="a path or URI", found="no such file")
    if path is None or (path.is_file() and not is_one_s_own(path)):
        known = ", ".join(FRAMEWORKS)
        raise BadInput("FRAMEWORK", expected=f"one of {known}, for what is no folder", found="''")
    return framework_of(path)


if __name__ == "__main__":
    raise SystemExit(main())
