"""Artifact types, and the marks that make a parameter of a stage an input or an output."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from cellmill.contract.recording import Recorder

Scalar = str | int | float | bool


@dataclass
class Artifact:
    """Something a stage reads or writes.

    Attributes:
        path: the file or folder.
        uri: its name outside this machine; the path itself where there is none.
        metadata: flat scalars that travel with it, at most 500 bytes as JSON.
    """

    schema_title: ClassVar[str] = "system.Artifact"

    path: Path
    uri: str = ""
    metadata: dict[str, Scalar] = field(default_factory=dict)


class Dataset(Artifact):
    """A batch: a folder with one entry per image and a manifest."""

    schema_title = "system.Dataset"


class Model(Artifact):
    """A model: a folder with a SavedModel and its card, ``model.json``."""

    schema_title = "system.Model"


class Metrics(Artifact):
    """Numbers to show beside a run: its ``metadata``."""

    schema_title = "system.Metrics"


class HTML(Artifact):
    """A self-contained page."""

    schema_title = "system.HTML"


class Markdown(Artifact):
    """A Markdown text."""

    schema_title = "system.Markdown"


class Record(Artifact, Recorder):
    """What a stage did: a JSON file that the runtime writes when the stage has ended well."""

    schema_title = "system.Artifact"

    def __init__(self, path: Path, uri: str = "", metadata: dict[str, Any] | None = None) -> None:
        Artifact.__init__(self, path, uri, metadata or {})
        Recorder.__init__(self)


class TaskFinalStatus(dict[str, Any]):
    """How the tasks of a run ended, as KFP tells it to the one that comes after them all.

    It has ``state`` (``SUCCEEDED``, ``FAILED``, …) and, of a failure, ``error`` with a ``message``.
    """


T = TypeVar("T")
Input = Annotated[T, "input"]
Output = Annotated[T, "output"]
