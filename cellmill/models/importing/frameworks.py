"""The frameworks whose networks can be brought in, a module each, imported when one is named."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path

from cellmill.errors import BadInput
from cellmill.models.importing.interface import Framework, Original, Said

#: A line a framework: the module that holds it, as `FRAMEWORK` or by a name behind a colon. None
#: imports its package.
FRAMEWORKS: dict[str, str] = {
    "stardist": "cellmill.models.importing.stardist",
    "cellpose3": "cellmill.models.importing.cellpose3",
    "cellpose4": "cellmill.models.importing.cellpose4",
    "bioimage_onnx": "cellmill.models.importing.bioimage:ONNX",
    "bioimage_keras": "cellmill.models.importing.bioimage:KERAS",
}


def find_framework(name: str) -> Framework:
    """The framework of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in FRAMEWORKS:
        raise BadInput("framework", expected=f"one of {', '.join(FRAMEWORKS)}", found=repr(name))
    module, _, attribute = FRAMEWORKS[name].partition(":")
    framework: Framework = getattr(importlib.import_module(module), attribute or "FRAMEWORK")
    return framework


def is_one_s_own(source: Path) -> bool:
    """Whether a file or folder is a network of some framework as it is: torch's files are zips."""
    return any(find_framework(name).recognises(source) for name in FRAMEWORKS)


def framework_of(source: Path, name: str = "") -> Framework:
    """The framework that some files are of.

    Args:
        source: a file or folder.
        name: of the framework; empty is the one that recognises the files.

    Raises:
        BadInput: there is no such framework, it does not know the files, or none or several do.
    """
    if name:
        framework = find_framework(name)
        if not framework.recognises(source):
            raise BadInput(
                f"model '{source}'", expected=f"{framework.title}: {framework.files}", found="none"
            )
        return framework
    every = [find_framework(each) for each in FRAMEWORKS]
    found = [framework for framework in every if framework.recognises(source)]
    if len(found) != 1:
        known = "; or ".join(f"{each.title}: {each.files}" for each in every)
        names = " and ".join(each.name for each in found)
        raise BadInput(
            f"model '{source}'",
            expected=f"files of one framework, {known}" if not found else "a framework's name",
            found=f"files of {names}" if found else "none",
        )
    return found[0]


def check_installed(framework: Framework) -> None:
    """Refuse a framework that is not installed, by BadInput."""
    if importlib.util.find_spec(framework.package) is None:
        raise BadInput(
            f"framework {framework.name}",
            expected=f"its package {framework.package}, as in the environment "
            f"'{framework.image}' (make import-model)",
            found="none",
        )


def open_original(framework: Framework, source: Path, said: Said) -> Original:
    """Open a network by its own framework.

    Raises:
        BadInput: the framework is not installed, or cannot open the files.
    """
    check_installed(framework)
    return framework.open(source, said)


def version_of(framework: Framework) -> str:
    """The version of a framework's package that is installed."""
    return importlib.metadata.version(framework.package)
