"""Runs a compiled pipeline on this machine, in containers or without."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from kfp import components, local

from cellmill.arrays.entries import STORES_VARIABLE
from cellmill.arrays.files import absolute_place
from cellmill.arrays.lease import end_run, run_variables
from cellmill.errors import CellmillError
from cellmill.io.uris import local_path
from launch.images.environments import environment, image_name
from launch.local.containers import Containers
from launch.local.task_handler import (
    LocalRun,
    Start,
    Task,
    in_environment,
    installed,
    warmth_of,
)
from launch.local.warm import WarmInterpreters, Warmth, is_on, is_stage
from launch.runs.settings import WRITTEN_PLACES

#: What `python -m cellmill` itself imports.
_PROGRAM = ("cellmill.contract.cli", "cellmill.commands")
#: What is imported that makes loading kernels quick, after so many of the first stages.
_READY, _OPENING = "cellmill.compute.ready", 2
#: The one written in C, where there is one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunFailed(CellmillError):
    """A stage of a run failed.

    Attributes:
        exit_code: the stage's.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_pipeline(
    spec: Path,
    arguments: Mapping[str, Any],
    root: Path,
    logs: Path,
    runner: str = "local",
    locks: Sequence[int] = (),
) -> dict[str, Any]:
    """Run a compiled pipeline to its end.

    Args:
        spec: the compiled YAML.
        arguments: the pipeline's arguments.
        root: the folder for what the tasks make.
        logs: the folder for their logs.
        runner: `local`, each task in the environment of its image, or `docker`, each in its
            image.
        locks: open files that hold locks until the last task has ended.

    Returns:
        The pipeline's outputs by name.

    Raises:
        RunFailed: a stage failed; the text is its one line and the path of its log.
        KeyboardInterrupt: the user stopped it; no task runs any more.
        CellmillError: the images or their environments are not there and cannot be made.
    """
    name = f"{root.absolute().parent.name}-{uuid.uuid4().hex[:8]}"
    written = [root, *(arguments.get(key) for key in WRITTEN_PLACES)]
    stores = [absolute_place(str(place)) for place in written if place]
    start = _starter(runner, images_of(spec), arguments, stores)
    told = {**run_variables(name), STORES_VARIABLE: "\n".join(stores)}
    run = LocalRun(logs, start, told, locks)
    if runner == "local" and is_on():
        warm_up(run.warm, spec)
    pipeline = components.load_component_from_file(str(spec))

    def interrupt(number: int, frame: FrameType | None) -> None:
        run.stop()

    # Ctrl-C, an end by the system, a terminal that was closed.
    before = {s: signal.signal(s, interrupt) for s in _STOPS}
    # kfp.local logs and prints every task's whole command line; ours says what a user wants.
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            installed(run),
        ):
            warnings.simplefilter("ignore")
            local.init(
                runner=local.SubprocessRunner(use_venv=False),
                pipeline_root=str(root),
                raise_on_error=True,
            )
            return dict(pipeline(**arguments).outputs)
    except Exception as error:
        if run.interrupted.is_set():
            raise KeyboardInterrupt from None
        if run.failure is None:
            raise
        failure = run.failure
        raise RunFailed(
            f"stage '{failure.stage}' failed: {_own_words(failure.message)} "
            f"(log: {os.path.relpath(failure.log)})",
            failure.exit_code,
        ) from error
    finally:
        run.warm.end()
        for place in filter(None, map(local_path, stores)):
            end_run(place, name)
        logging.disable(logging.NOTSET)
        for number, handler in before.items():
            signal.signal(number, handler)


def _starter(
    runner: str, images: set[str], arguments: Mapping[str, Any], stores: Sequence[str]
) -> Callable[[Task], Start]:
    if runner == "docker":
        places = [place for store in stores if (place := local_path(store))]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        return Containers.of(images, arguments, places).start
    for image in sorted(images):
        environment(image_name(image))
    return in_environment


def images_of(spec: Path) -> set[str]:
    """Return the container images that a compiled pipeline names."""
    return {container["image"] for container in _containers(_document(spec)).values()}


def warm_up(warm: WarmInterpreters, spec: Path) -> None:
    """Start the interpreters that the stages of a compiled pipeline are forked from.

    Each imports the modules of its stages in the order in which they are wanted.
    """
    document = _document(spec)
    containers = _containers(document)
    modules: dict[Warmth, list[str]] = {}
    for label in _in_order(document, document["root"]):
        container = containers.get(label, {})
        command = [*container.get("command", ()), *container.get("args", ())]
        if is_stage(command):
            python = str(environment(image_name(container["image"])))
            wanted = modules.setdefault(warmth_of(python, command[3]), [*_PROGRAM])
            wanted.append(f"cellmill.stages.{command[3]}")
    for warmth, wanted in modules.items():
        # Not first: stages that open what comes from outside need no kernels, and begin at once.
        wanted.insert(len(_PROGRAM) + _OPENING, _READY)
        warm.start(warmth, dict.fromkeys(wanted))


def _in_order(document: Mapping[str, Any], component: Mapping[str, Any]) -> Iterator[str]:
    """The labels of executors below a component, none before those that it waits for."""
    if label := component.get("executorLabel"):
        yield label
    tasks = component.get("dag", {}).get("tasks", {})
    after = {name: task.get("dependentTasks", ()) for name, task in tasks.items()}
    for name in TopologicalSorter(after).static_order():
        inner = tasks[name]["componentRef"]["name"]
        yield from _in_order(document, document["components"][inner])


def _document(spec: Path) -> dict[str, Any]:
    return next(iter(yaml.load_all(spec.read_text(), _LOADER)))


def _containers(document: Mapping[str, Any]) -> dict[str, Any]:
    executors = document["deploymentSpec"]["executors"]
    return {label: e["container"] for label, e in executors.items() if "container" in e}


def _own_words(message: str) -> str:
    """A stage's line without the program's name, which the run says itself."""
    return message.split(": ", 1)[1] if message.startswith("cellmill ") else message
