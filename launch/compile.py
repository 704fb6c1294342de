"""Writes what is generated from the code: components, their pages, and compiled pipelines.

`python -m launch.compile` writes the files and removes those whose stage or pipeline is gone;
`--check` writes nothing and fails, naming each, where something differs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cellmill.contract.spec import StageSpec, stage_names
from cellmill.errors import CellmillError
from cellmill.terminal import say
from launch import ROOT
from launch.compiling.caching import uncached
from launch.compiling.compiled import (
    component,
    hardware_by_component,
    pipeline,
    pipeline_names,
    to_yaml,
)
from launch.compiling.component_index import component_index
from launch.compiling.component_source import component_source
from launch.compiling.lint_ir import lint
from launch.compiling.readmes import component_readme
from launch.compiling.reference import reference

COMPONENTS = ROOT / "components"
PIPELINES = ROOT / "pipelines"
_REMEDY = "make compile"


def component_sources() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of each `component.py`, one a stage.

    Raises:
        BadInput: a stage does not say where it runs, or in which family it belongs.
    """
    for name in stage_names():
        yield COMPONENTS / name / "component.py", component_source(StageSpec.load(name))


def compiled_files() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of all that is compiled from components and pipelines.

    Raises:
        CellmillError: a pipeline breaks a rule of `make lint-ir`, as one that feeds label images
            to an input for microscopy images.
    """
    hardware = hardware_by_component()
    specs = [StageSpec.load(name) for name in stage_names()]
    for spec in specs:
        folder = COMPONENTS / spec.name
        text = uncached(to_yaml(component(spec.name)))
        yield folder / "component.yaml", text
        yield folder / "README.md", component_readme(spec, text, hardware.get(spec.name, ""))
    yield COMPONENTS / "README.md", component_index(specs)
    yield ROOT / "docs" / "reference.md", reference()
    for name in pipeline_names():
        path = PIPELINES / name / "pipeline.yaml"
        text = uncached(to_yaml(pipeline(name)))
        for line in lint(text):
            raise CellmillError(f"{path.relative_to(ROOT)}: {line}")
        yield path, text


def left_behind() -> Iterator[Path]:
    """Yield the files of components whose stage is gone, and of pipelines whose source is."""
    stages = stage_names()
    for path in sorted(COMPONENTS.glob("*/*")):
        if path.is_file() and path.parent.name not in stages and path.suffix != ".pyc":
            yield path
    for path in sorted(PIPELINES.glob("*/pipeline.yaml")):
        if not path.with_suffix(".py").exists():
            yield path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the generated files, or with `--check` say which are out of date (then 1)."""
    parser = argparse.ArgumentParser(prog="python -m launch.compile", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on drift")
    check = parser.parse_args(argv).check
    try:
        return int(_check() if check else _write())
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2


def _check() -> bool:
    stale = [path for path, text in component_sources() if _differs(path, text)]
    # All else is compiled from the sources: while those differ it says nothing of its own.
    if not stale:
        stale = [path for path, text in compiled_files() if _differs(path, text)]
    gone = list(left_behind())
    for path in stale:
        say(f"{path.relative_to(ROOT)}: out of date ({_REMEDY})")
    for path in gone:
        say(f"{path.relative_to(ROOT)}: nothing is left that it is made from ({_REMEDY})")
    return bool(stale or gone)


def _write() -> bool:
    files: Callable[[], Iterator[tuple[Path, str]]]
    for files in (component_sources, compiled_files):
        for path, text in files():
            if _differs(path, text):
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
                say(f"{path.relative_to(ROOT)}: written")
        importlib.invalidate_caches()
    for path in left_behind():
        path.unlink()
        say(f"{path.relative_to(ROOT)}: removed")
    return False


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


if __name__ == "__main__":
    sys.exit(main())
