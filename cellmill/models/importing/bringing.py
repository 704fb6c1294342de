"""Networks of other frameworks, brought in when they are named or given, and kept.

A network's own files, given or fetched (`cellmill.models.published`), are brought in by the stage
`import_model`, in an environment that has the framework. What comes of it is kept under
`$XDG_CACHE_HOME/cellmill/imported`, by the digest of the files and of the code that brings them in,
so that it is done once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import BadInput, CellmillError
from cellmill.io import uris
from cellmill.io.digests import folder_digest
from cellmill.models.archive import extract
from cellmill.models.importing.bioimage_package import description_in, write_plain
from cellmill.models.importing.frameworks import find_framework, framework_of
from cellmill.models.importing.interface import Framework
from cellmill.models.published import fetch_files, published
from cellmill.terminal import say

#: Written last into an environment that is whole (`launch.images.environments`).
_COMPLETE = "complete"
#: What the other interpreter is to find.
_PACKAGE = Path(__file__).resolve().parents[2]
#: Of what a failed import said, lines that are handed on.
_LINES = 3

PythonOf = Callable[[Framework], Path]
"""Gives the interpreter of an environment that has a framework."""


def installed_python(framework: Framework) -> Path:
    """An interpreter on this machine that has a framework.

    It is the one that `CELLMILL_<FRAMEWORK>_PYTHON` names; this one; or that of the environment
    which a clone's `make` has made.

    Raises:
        BadInput: there is none.
    """
    variable = f"CELLMILL_{framework.name.upper()}_PYTHON"
    if named := os.environ.get(variable, ""):
        if not os.access(named, os.X_OK):
            raise BadInput(variable, expected="a Python interpreter", found=f"'{named}'")
        return Path(named)
    if _has(framework):
        return Path(sys.executable)
    made = [
        folder / "bin" / "python"
        for folder in cache_folder("environments").glob(f"{framework.image}-*")
        if (folder / _COMPLETE).is_file() and (folder / "bin" / "python").exists()
    ]
    if made:
        return max(made, key=lambda path: path.parents[1].stat().st_mtime)
    raise BadInput(
        f"framework {framework.title}",
        expected=f"a Python that has {framework.package} and cellmill, named in {variable}; or "
        "make import-model in a clone of cellmill",
        found="none",
    )


def named_model(name: str, python_of: PythonOf = installed_python, *, digest: str = "") -> Path:
    """The folder of a published network, which is brought in if it is not there.

    Args:
        name: of the network, see `cellmill.models.published`.
        python_of: gives the interpreter to bring it in by.
        digest: what the framework's files must be; empty checks what the framework publishes.

    Raises:
        BadInput: there is no such network, or no interpreter; or the files are others.
        CellmillError: the network cannot be fetched or brought in.
    """
    wanted = published(name)
    files = fetch_files(wanted)
    said = {"name": wanted.name, "compartment": wanted.kind}
    # The import unpacks an archive, and holds its content against the framework.
    framework = find_framework(wanted.framework) if wanted.framework else framework_of(files)
    return _brought(files, framework, python_of, said, digest)


def own_files_model(files: Path, python_of: PythonOf = installed_python, digest: str = "") -> Path:
    """The folder of a network that is given by its framework's own files; see `named_model`.

    Args:
        files: a file or folder that `cellmill.models.importing.frameworks` knows.
        python_of: gives the interpreter to bring it in by.
        digest: what the files must be; empty checks nothing.

    Raises:
        BadInput: no framework knows the files, there is no interpreter, or the files are others.
        CellmillError: the network cannot be brought in.
    """
    name = files.resolve().name.removesuffix(".zip")
    return _brought(files, framework_of(files), python_of, {"name": name}, digest)


def _brought(
    files: Path, framework: Framework, python_of: PythonOf, said: Mapping[str, str], digest: str
) -> Path:
    found = folder_digest(files) if files.is_dir() else uris.digest(str(files))
    if digest and found != digest:
        raise BadInput(f"model '{said['name']}'", expected=digest, found=found)
    beside = framework.beside(files)
    more = uris.digest(str(beside)) if beside else ""
    told = f"{framework.name} {sorted(said.items())} {found} {more} {_code()}"
    key = hashlib.sha256(told.encode()).hexdigest()[:32]
    place = cache_folder("imported") / key
    if place.is_dir():
        return place
    python = python_of(framework)
    with locked(place.with_name(f".{key}.lock")):
        if not place.is_dir():
            say(f"bringing {said['name']} in (once) …", to=sys.stderr)
            _bring(files, framework, python, said, place)
    return place


def _bring(
    files: Path, framework: Framework, python: Path, said: Mapping[str, str], place: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=place.parent) as folder:
        # The other interpreter finds this package, and nothing else that this one has.
        Path(folder, "path").mkdir()
        Path(folder, "path", "cellmill").symlink_to(_PACKAGE)
        if description_in(files):
            files = plain_package(files, Path(folder, "package", said["name"]))
        draft = Path(folder, "model")
        command = [str(python), "-m", "cellmill", "import_model", "--source", str(files.absolute())]
        command += ["--model", str(draft), "--record", str(Path(folder, "record.json"))]
        command += ["--framework", framework.name]
        for key, value in said.items():
            command += [f"--{key}", value] if value else []
        paths = {"PYTHONPATH": str(Path(folder, "path")), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            command,
            env={**os.environ, **paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            last = "; ".join(lines[-_LINES:] if done.returncode != 2 else lines[-1:])
            raise CellmillError(f"model '{said['name']}': {last.split('import_model: ', 1)[-1]}")
        draft.rename(place)


def plain_package(source: Path, folder: Path) -> Path:
    """A package in a folder, with its description as JSON: other environments read no YAML."""
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        folder.mkdir(parents=True)
        extract(source, folder, what=f"package '{source.name}'")
    write_plain(source, folder)
    return folder


def _has(framework: Framework) -> bool:
    try:
        found = importlib.metadata.version(framework.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return found.startswith(framework.versions)


def _code() -> str:
    """Digest of the code that brings networks in: other code may write another card."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
