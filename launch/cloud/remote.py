"""What runs on Vertex AI and on Kubeflow have in common: settings, states, where outputs are."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from components.container_images import RELEASE_LOCK, ContainerImage, read_lock
from launch.compiling.exit_handler import pipeline_dag

T = TypeVar("T")
#: Seconds before a request is made again that a quota or a hiccup refused.
BACKOFF = (5.0, 15.0, 45.0)
#: Seconds between looks at a run.
LOOK = 10.0


@dataclass(frozen=True)
class State:
    """Where a run is.

    Attributes:
        name: PENDING, RUNNING, SUCCEEDED, FAILED, …
        done: tasks that are done.
        message: why it failed.
    """

    name: str
    done: tuple[str, ...] = ()
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.name in ("SUCCEEDED", "FAILED", "CANCELLED", "CANCELED", "SKIPPED", "PAUSED")


class Job(Protocol):
    """A run on some platform."""

    @property
    def url(self) -> str:
        """A page that shows the run."""

    @property
    def name(self) -> str:
        """What the platform calls it."""

    def state(self) -> State:
        """Ask the platform where the run is."""

    def uris(self, task: str, output: str) -> list[str]:
        """Where an output of a task is: one URI for each time the task ran."""


def labels_of(text: str) -> dict[str, str]:
    """Read `JOB_LABELS`: `key=value,key=value`, as Google Cloud allows them.

    Raises:
        BadInput: a label is none.
    """
    labels = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
            r"[a-z0-9_-]{0,63}", value
        ):
            raise BadInput("JOB_LABELS", expected="key=value,… in small letters", found=part)
        labels[key] = value
    return labels


def released_images(path: Path = RELEASE_LOCK) -> dict[str, ContainerImage]:
    """Return the images that a cloud can pull.

    Raises:
        BadInput: none were pushed, or of another version.
    """
    tags = {image.tag for image in read_lock().values()}
    pushed = read_lock(path) if path.exists() else {}
    for name, image in (pushed or {"": ContainerImage("localhost/cellmill", *tags)}).items():
        if not pushed or image.repository.startswith("localhost/"):
            raise BadInput(
                "images",
                expected="in a registry (make push REGISTRY=…)",
                found=f"only on this machine ({image.repository}…)",
            )
        if image.tag not in tags or not image.digest:
            raise BadInput(
                f"image '{name}'",
                expected=f"version {', '.join(tags)} by digest (make push REGISTRY=…)",
                found=f"{image.tag} {image.digest}".strip(),
            )
    return pushed


def producer(spec: Mapping[str, Any], output: str) -> tuple[str, str]:
    """Return the task and its output that give one of a pipeline's outputs.

    Args:
        spec: a compiled pipeline.
        output: the name of a pipeline's output.
    """
    dag, key = pipeline_dag(spec), output
    while True:
        (selector,) = dag["outputs"]["artifacts"][key]["artifactSelectors"]
        task, key = selector["producerSubtask"], selector["outputArtifactKey"]
        component = spec["components"][dag["tasks"][task]["componentRef"]["name"]]
        if "dag" not in component:
            return task, key
        dag = component["dag"]


def again(call: Callable[[], T], transient: tuple[type[Exception], ...]) -> T:
    """Make a request; make it again, later and later, where it is refused for now."""
    for seconds in BACKOFF:
        try:
            return call()
        except transient as error:
            text = (str(error).splitlines() or [""])[0]
            say(f"note: {text}; again in {seconds:.0f} s", to=sys.stderr)
            time.sleep(seconds)
    return call()


def wait(job: Job) -> State:
    """Follow a run to its end; say which tasks are done.

    Returns:
        Its last state.
    """
    told: set[str] = set()
    last = ""
    while True:
        state = job.state()
        if state.name != last:
            say(f"▸ {state.name.lower()}", to=sys.stderr)
            last = state.name
        for task in state.done:
            if task not in told:
                say(f"▸ {task} done", to=sys.stderr)
                told.add(task)
        if state.ended:
            return state
        time.sleep(LOOK)


@dataclass(frozen=True)
class Fetched:
    """An output that was brought here; it has the place that `collect` reads."""

    path: Path


def fetch(
    job: Job,
    spec: str,
    names: Iterator[str] | list[str],
    download: Callable[[str, Path], None],
    folder: Path,
) -> dict[str, list[Fetched]]:
    """Bring a run's outputs to this machine.

    Args:
        job: the run.
        spec: the YAML that it ran.
        names: the pipeline's outputs that are wanted.
        download: brings what is at a URI to a path.
        folder: where they go.

    Raises:
        CellmillError: an output is not there.
    """
    document = next(iter(yaml.safe_load_all(spec)))
    outputs: dict[str, list[Fetched]] = {}
    for name in dict.fromkeys(names):
        task, key = producer(document, name)
        uris = job.uris(task, key)
        if not uris:
            raise CellmillError(f"output '{name}': expected from task '{task}', found none")
        outputs[name] = []
        for number, uri in enumerate(uris):
            place = folder / task / str(number) / key
            download(uri, place)
            outputs[name].append(Fetched(place))
    return outputs
