"""The seam with kfp.local: runs a container task's command, in its image or without.

kfp.local's own subprocess runner refuses container components. Its dispatcher looks the handler up
by name in `kfp.local.subprocess_task_handler` at each task; `installed` puts ours there. All
that this library asks of that seam is in this module.

kfp.local's Docker runner is not used either: it takes a container that vanished for one that
succeeded, tells no exit code, and keeps no log of a task.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kfp
from kfp.local import status, subprocess_task_handler

from cellmill.models.token import SECRET_VARIABLE, TOKEN_VARIABLE
from cellmill.terminal import printable
from launch import ROOT
from launch.images.environments import environment, image_name
from launch.local.room import Room
from launch.local.side_by_side import side_by_side
from launch.local.warm import (
    READ_LATE,
    Running,
    WarmInterpreters,
    Warmth,
    is_on,
    is_stage,
    started_anew,
)

#: What an exit handler runs, whether or not all went well before.
_RUN_AFTER_ALL = "report_failure"
#: A process's and a container's exit code after SIGKILL.
_KILLED = (-9, 137)
#: What each task runs under.
_GUARD = str(Path(__file__).with_name("guard.py"))


@dataclass(frozen=True)
class Failure:
    """The first task that failed: its stage, exit code, one line and log."""

    stage: str
    exit_code: int
    message: str
    log: Path


#: The stage that may download a model, with the user's token.
DOWNLOADS = "fetch_model"
#: The stages that run a network, and those of them that reach a store in a bucket.
_BY_URI = ("transfer_style", "train_style_transfer", "train_cellpose")
_NETWORKS = ("predict", "predict_shard", "train_segmenter", *_BY_URI)
_IN_STORES = ("predict_shard", *_BY_URI)
#: Variables that computing needs, by how they begin; and those by which buckets are reached.
_COMPUTING = (
    *("CELLMILL_", "CUDA", "HOME", "LANG", "LC_", "LD_LIBRARY_PATH", "MKL_", "NUMBA_", "NVIDIA_"),
    *("OMP_", "ONEDNN_", "OPENBLAS_", "OV_", "PATH", "TF_", "TMPDIR", "TZ", "XDG_", "XLA_"),
)
_BUCKETS = ("AWS_", "GOOGLE_", "GCS", "GCLOUD_", "STORAGE_", "FSSPEC_", "SSL_", "REQUESTS_")


@dataclass(frozen=True)
class Task:
    """One task as kfp.local hands it over.

    Attributes:
        image: the container image that it names.
        stage: the stage's name.
        command: what is run in the image: program and arguments.
        executor: KFP's executor input: where inputs and outputs are.
        environ: variables that the pipeline sets for it.
    """

    image: str
    stage: str
    command: list[str]
    executor: Mapping[str, Any]
    environ: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """The task's own folder, in which its outputs are."""
        return Path(self.executor["outputs"]["outputFile"]).parent

    @property
    def label(self) -> str:
        """The stage's name, with the numbers of the loops' turns."""
        turns = re.findall(r"iteration-(\d+)", self.executor["outputs"]["outputFile"])
        return f"{self.stage} [{'.'.join(str(int(i) + 1) for i in turns)}]" if turns else self.stage


@dataclass(frozen=True)
class Start:
    """How a task is started: a command of this machine and its whole environment.

    Attributes:
        command: program and arguments.
        environ: all its variables.
        stop: a command that ends the task, beside ending that command's processes.
        warmth: the warm interpreter that it may be forked from, if any.
    """

    command: list[str]
    environ: Mapping[str, str]
    stop: Sequence[str] = ()
    warmth: Warmth | None = None


def in_environment(task: Task) -> Start:
    """Start a task without containers: in the environment of its image, with this clone's code."""
    name = image_name(task.image)
    python = str(environment(name))
    is_warm = is_on() and is_stage(task.command)
    return Start(
        [python, *task.command[1:]],
        {**_isolated(task.stage), "CELLMILL_IMAGE": name, **task.environ},
        warmth=warmth_of(python, task.stage)
        if is_warm and all(key.startswith(READ_LATE) for key in task.environ)
        else None,
    )


def warmth_of(python: str, stage: str) -> Warmth:
    """What a stage may be forked from: an interpreter with its variables, but for the secrets."""
    isolated = _isolated(stage).items()
    return Warmth(python, {k: v for k, v in isolated if k not in (TOKEN_VARIABLE, SECRET_VARIABLE)})


@dataclass
class LocalRun:
    """What the tasks of one run share.

    Attributes:
        logs: the folder of the tasks' logs.
        start: how a task is started.
        told: variables that every task is told.
        locks: open files that hold locks; they are held until the last task has ended.
        warm: the interpreters that tasks are forked from.
        failure: the first task that failed, if any.
        interrupted: set when the user wants to stop.
    """

    logs: Path
    start: Callable[[Task], Start] = in_environment
    told: Mapping[str, str] = field(default_factory=dict)
    locks: Sequence[int] = ()
    warm: WarmInterpreters = field(default_factory=WarmInterpreters)
    failure: Failure | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    _processes: set[Running] = field(default_factory=set)
    _room: Room = field(default_factory=Room)
    # Re-entrant: a signal may call stop in the thread that holds it.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def stop(self) -> None:
        """End the tasks that run; those that would follow do not start."""
        self.interrupted.set()
        with self._lock:
            for process in self._processes:
                # Its guard sees the end of the pipe.
                process.end()
        self.warm.end(wait=False)

    def run(self, task: Task) -> bool:
        """Run one task to its end; keep its log, show its progress.

        Returns:
            Whether it succeeded and left every output it declares.
        """
        with self._room.take(_memory_mib(task)):
            return self._run(task)

    def _run(self, task: Task) -> bool:
        log = self.logs / (re.sub(r"[^\w.]+", "-", task.label).strip("-") + ".log")
        if self.interrupted.is_set() or (self.failure and task.stage != _RUN_AFTER_ALL):
            return False
        start = self.start(replace(task, environ={**self.told, **task.environ}))
        log.parent.mkdir(parents=True, exist_ok=True)
        task.folder.mkdir(parents=True, exist_ok=True)
        _say(f"▸ {task.label}")
        with log.open("w") as file:
            process = self._begun(start, task.folder)
            with self._lock:
                self._processes.add(process)
            if self.interrupted.is_set():
                self.stop()
            last = ""
            for line in process.output:
                file.write(line)
                file.flush()
                if line.strip():
                    last = line.strip()
                if line.startswith(("skipped ", "warning: ")) or " left" in line:
                    _say(f"  {task.label}: {line.rstrip()}")
            code = process.wait()
            with self._lock:
                self._processes.remove(process)
        missing = [] if code else _missing(task.executor)
        if missing:
            code, last = 1, f"declared output '{missing[0]}' was not written"
        elif code in _KILLED:
            last = "it was killed, as happens when memory runs out"
        if code and not self.interrupted.is_set():
            with self._lock:
                self.failure = self.failure or Failure(task.stage, code, last, log)
        return code == 0

    def _begun(self, start: Start, folder: Path) -> Running:
        """Start a task so that it ends when this process does, even by SIGKILL."""
        locks = [lock for lock in self.locks if lock >= 0]
        if start.warmth:
            words = start.command[3:]
            begun = self.warm.begin(start.warmth, words, start.environ, folder, locks)
            if begun:
                return begun
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _GUARD, json.dumps(start.stop), *start.command],
            cwd=folder,
            env=start.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=locks,
        )
        return started_anew(process)


def _memory_mib(task: Task) -> int:
    """What a task may take, as its parameter says; some of a machine's where it has none."""
    given = task.executor.get("inputs", {}).get("parameterValues", {}).get("memory_mib", 0)
    return int(given) if isinstance(given, (int, float)) else 0


@contextlib.contextmanager
def installed(run: LocalRun) -> Iterator[None]:
    """Make kfp.local hand container tasks to `run` within the block.

    Raises:
        RuntimeError: this kfp has no such seam.
    """

    class Handler:
        """What kfp.local's dispatcher calls at each task."""

        def __init__(
            self,
            image: str,
            full_command: list[str],
            pipeline_root: str,
            runner: Any,
            env_vars: dict[str, str] | None = None,
        ) -> None:
            self.image = image
            self.full_command = full_command
            self.pipeline_root = pipeline_root
            self.env_vars = env_vars or {}

        def run(self) -> status.Status:
            root = Path(self.pipeline_root)
            done = run.run(_task(self.image, self.full_command, self.env_vars, root))
            return status.Status.SUCCESS if done else status.Status.FAILURE

    check_seam()
    original = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = Handler
    try:
        with side_by_side():
            yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = original


def check_seam() -> None:
    """Check that kfp.local still looks its handler up where `installed` puts ours.

    Raises:
        RuntimeError: it does not; the message says what to look at.
    """
    from kfp.local import task_dispatcher

    handler = getattr(subprocess_task_handler, "SubprocessTaskHandler", None)
    module = getattr(task_dispatcher, "subprocess_task_handler", None)
    if handler is None or module is not subprocess_task_handler or not hasattr(handler, "run"):
        raise RuntimeError(
            f"kfp {kfp.__version__} has moved kfp.local.task_dispatcher's handler look-up; "
            "launch/local/task_handler.py must follow it (known to work: kfp 2.17.0)"
        )


def _task(image: str, command: list[str], environ: Mapping[str, str], root: Path) -> Task:
    """Read `python -m cellmill STAGE --executor-input JSON`, or what a foreign component runs.

    A foreign one is called after its image; it has KFP's JSON among its arguments, or none, then a
    folder is made up for it.
    """
    ours = "--executor-input" in command
    name = image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    executor = next((found for text in command if (found := _executor_input(text))), None)
    if executor is None:
        place = root / f"{name}-{uuid.uuid4().hex[:8]}" / "executor_output.json"
        executor = {"outputs": {"outputFile": str(place)}}
    return Task(image, command[3] if ours else name, command, executor, environ)


def _executor_input(text: str) -> Mapping[str, Any] | None:
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict) and "outputFile" in found.get("outputs", {}):
                return found
    return None


def _isolated(stage: str) -> dict[str, str]:
    """The environment of a task: this process's, less what would reach into another's packages.

    A network may come from anybody: the stages that run one see what computing needs and no more.
    A token for downloads is seen by the stage that downloads alone.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    if stage != DOWNLOADS:
        kept.pop(TOKEN_VARIABLE, None)
        kept.pop(SECRET_VARIABLE, None)
    if stage in _NETWORKS:
        needed = _COMPUTING + (_BUCKETS if stage in _IN_STORES else ())
        kept = {k: v for k, v in kept.items() if k.startswith(needed)}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _missing(executor: Mapping[str, Any]) -> list[str]:
    artifacts = executor["outputs"].get("artifacts", {})
    return [n for n, a in artifacts.items() if not Path(a["artifacts"][0]["uri"]).exists()]


def _say(text: str) -> None:
    # Not say: kfp.local replaces print to indent what tasks say.
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()
