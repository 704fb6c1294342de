"""The compiled components and pipelines that this package carries, ready for a pipeline of yours.

Example:
    >>> import cellmill.catalog
    >>> "predict" in cellmill.catalog.components()  # doctest: +SKIP
    True
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellmill import extras
from cellmill.errors import BadInput

_PACKAGE = Path(__file__).resolve().parent


def components() -> list[str]:
    """Return the names of the components."""
    return sorted(p.parent.name for p in _folder("components").glob("*/component.yaml"))


def pipelines() -> list[str]:
    """Return the names of the pipelines."""
    return sorted(p.parent.name for p in _folder("pipelines").glob("*/pipeline.yaml"))


def component_path(name: str) -> Path:
    """Return the path of a component's compiled YAML.

    Raises:
        BadInput: there is no component of that name.
    """
    return _path("components", name, "component.yaml", components())


def pipeline_path(name: str) -> Path:
    """Return the path of a pipeline's compiled YAML.

    Raises:
        BadInput: there is no pipeline of that name.
    """
    return _path("pipelines", name, "pipeline.yaml", pipelines())


def component(name: str) -> Any:
    """Return a component, loaded through kfp, to be called inside a `@dsl.pipeline`.

    Raises:
        BadInput: there is no component of that name, or kfp is not installed.
    """
    return _load(component_path(name))


def pipeline(name: str) -> Any:
    """Return a pipeline, loaded through kfp: a component like any other.

    Raises:
        BadInput: there is no pipeline of that name, or kfp is not installed.
    """
    return _load(pipeline_path(name))


def _load(path: Path) -> Any:
    kfp = extras.load("kfp.components", f"loading '{path.parent.name}' into a pipeline")
    return kfp.load_component_from_file(str(path))


def _folder(kind: str) -> Path:
    # The build copies the YAMLs into the package; in a clone they lie beside it.
    packaged = _PACKAGE / "compiled" / kind
    return packaged if packaged.is_dir() else _PACKAGE.parent / kind


def _path(kind: str, name: str, file: str, known: list[str]) -> Path:
    if name not in known:
        raise BadInput(f"{kind[:-1]} '{name}'", expected=f"one of {', '.join(known)}", found="none")
    return _folder(kind) / name / file
