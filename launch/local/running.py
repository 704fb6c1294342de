"""Runs a compiled pipeline on this machine, in containers or without."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import os
import signal
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
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
from launch.local.task_handler import LocalRun, Start, Task, in_environment, installed

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
    stores = [absolute_place(str(place)) for place in (root, arguments.get("store")) if place]
    start = _starter(runner, images_of(spec), arguments, stores)
    told = {**run_variables(name), STORES_VARIABLE: "\n".join(stores)}
    run = LocalRun(logs, start, told, locks)
    pipeline = components.load_component_from_file(str(spec))
    printing = builtins.print

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
        for place in filter(None, map(local_path, stores)):
            end_run(place, name)
        logging.disable(logging.NOTSET)
        # kfp.local swaps print in each of its threads, and may leave the last one's in place.
        builtins.print = printing
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
    document = yaml.safe_load(spec.read_text())
    executors = document["deploymentSpec"]["executors"].values()
    return {e["container"]["image"] for e in executors if "container" in e}


def _own_words(message: str) -> str:
    """A stage's line without the program's name, which the run says itself."""
    return message.split(": ", 1)[1] if message.startswith("cellmill ") else message
