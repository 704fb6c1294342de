"""Runs a pipeline on a user's files: `python -m launch.run PIPELINE --image … [--channels …] …`.

Beside the launcher's own settings every parameter of the pipeline is a flag. With `--make` they
are taken from the environment instead (`IMAGE`, `CHANNELS`, …), where make puts the variables
of its command line whole, whatever quotes or spaces they hold.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from cellmill.arrays.files import write_text
from cellmill.compute.faults import fault_of
from cellmill.compute.processes import Process
from cellmill.datasets import samples
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from cellmill.version import __version__
from launch import ROOT
from launch.cloud.settings import CLOUDS
from launch.cloud.settings import SETTINGS as CLOUD_SETTINGS
from launch.compiling.compiled import pipeline_names
from launch.local.running import RunFailed, run_pipeline
from launch.runs.collecting import collect, link_latest
from launch.runs.folders import BOOKKEEPING, LAUNCHER, RunFolder, new_folder, taken_names
from launch.runs.inputs import Item, find_items
from launch.runs.models import model_of, weights_of
from launch.runs.outcome import outcome
from launch.runs.settings import (
    FILLED,
    arguments_of,
    check_taken,
    is_required,
    parameters_of,
    settings_of,
)
from launch.runs.tables import (
    by_setting,
    needs_truth,
    outputs_of,
    takes_weights,
    truth_setting,
    with_reference,
)

#: kfp.local works on two tasks at a time; more batches of few images only load the model again.
LOCAL_WORKERS = 2
#: In a cloud, where every batch has machines of its own.
CLOUD_WORKERS = 16
#: The launcher's settings, beside those of clouds, and what `--help` says of them.
_SETTINGS = {
    "image": "file, folder, glob or URI; the sample image by default",
    "truth": "label images, matched by name",
    "hard_background": "for training: label images of what looks like a cell and is none",
    "output": "the run's folder; a new one under outputs/ by default",
    "runner": "local, or docker: in the images that make build-images makes",
    "target": "local, vertex or kubeflow",
}

Find = Callable[[str, str], list[Item]]


@dataclass(frozen=True)
class Request:
    """What the user asks for, beside the pipeline's parameters.

    Attributes:
        image: file, folder, glob or URI; empty for the sample image.
        truth: the same for label images; empty for none.
        hard_background: for training, label images of what looks like a cell and is none.
        output: the run's folder; empty for a new one under `outputs/`.
    """

    image: str
    truth: str
    hard_background: str
    output: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run a pipeline; return 0, or the exit code of what failed, with one line on stderr."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except RunFailed as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return error.exit_code if error.exit_code > 0 else 1
    except CellmillError as error:
        say(f"cellmill: {error}", to=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("cellmill: interrupted; nothing of this run goes on", to=sys.stderr)
        return 130
    except Exception as error:
        if not (fault := fault_of(error)):
            raise
        say(f"cellmill: {fault}", to=sys.stderr)
        return 1


def _main(argv: Sequence[str]) -> int:
    name = argv[0] if argv else ""
    if name not in pipeline_names():
        raise BadInput("pipeline", expected=f"one of {', '.join(pipeline_names())}", found=name)
    parameters = parameters_of(_spec(name))
    given = settings_of(name, parameters, {**_SETTINGS, **CLOUD_SETTINGS}, argv[1:])
    name, given = with_reference(name, given)
    name, because = by_setting(name, given)
    if because:
        check_taken(given, parameters, parameters_of(_spec(name)), because)
    spec = _spec(name)
    parameters = parameters_of(spec)
    request = Request(*(given.pop(f.name) for f in fields(Request)))
    target, runner = _place(given)
    if target != "local":
        from launch.cloud.running import prepare

        prepare(target, name, given)
    notes: list[str] = []
    find = partial(
        find_items,
        tell=notes.append,
        taken=taken_names(name),
        skip_unreadable=given.get("on_bad_image", "") == "skip",
    )
    takes_images = bool({"batches", "items"} & set(parameters))
    truth = truth_setting(name) if needs_truth(name) else ""
    needed = [key.upper() for key, each in parameters.items() if is_required(key, each)]
    items = _items(request, truth, find) if takes_images else _no_items(request, needed)
    workers = LOCAL_WORKERS if target == "local" else CLOUD_WORKERS
    background = partial(find, request.image, request.hard_background)
    find_model = weights_of if takes_weights(name) else model_of
    arguments = arguments_of(parameters, given, items, workers, background, find_model)
    with new_folder(request.output, items) as folder:
        if not request.image and not needed:
            sample = "this is the sample image" if takes_images else "the volumes are simulated"
            say(f"no IMAGE given: {sample}")
        for line in notes:
            say(line, to=sys.stderr)
        run(name, spec, arguments, folder, items, runner if target == "local" else target, given)
    return 0


def run(
    name: str,
    spec: Path,
    arguments: Mapping[str, Any],
    place: RunFolder,
    items: Sequence[Item],
    runner: str = "local",
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run a pipeline and fill the run's folder.

    Args:
        name: the pipeline's name.
        spec: its compiled YAML.
        arguments: its arguments.
        place: the run's folder, with a folder `logs` in it.
        items: the images.
        runner: `local` or `docker`, on this machine; `vertex` or `kubeflow`.
        settings: of a run in a cloud.

    Raises:
        RunFailed: a stage failed. `run.json` says so; what there is stays for a look.
    """
    begun, folder = time.monotonic(), place.path
    about: dict[str, Any] = {
        "format": "cellmill-run/1",
        "pipeline": name,
        "version": __version__,
        "runner": runner,
        LAUNCHER: asdict(Process.of(os.getpid())),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "images": list(items),
        "arguments": {k: v for k, v in arguments.items() if k not in FILLED},
    }

    def note(status: str) -> None:
        about.update(status=status, seconds=round(time.monotonic() - begun, 1))
        write_text(folder / "run.json", json.dumps(about, indent=1) + "\n")

    note("running")
    try:
        if runner in CLOUDS:
            from launch.cloud.running import run_in_cloud

            images = run_in_cloud(runner, name, arguments, folder, settings or {})
        else:
            made, logs = folder / "artifacts", folder / "logs"
            outputs = run_pipeline(spec, arguments, made, logs, runner, [place.lock])
            images = collect(outputs, outputs_of(name), folder)
    except BaseException as error:
        note("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    if images is None:
        note("submitted")
        say(f"submitted; its outputs: make fetch OUTPUT={os.path.relpath(folder)}")
        return
    note("succeeded")
    if folder.parent == ROOT / "outputs":
        link_latest(folder)
    _tell(folder, images, time.monotonic() - begun)


def _spec(name: str) -> Path:
    return ROOT / "pipelines" / name / "pipeline.yaml"


def _place(given: dict[str, str]) -> tuple[str, str]:
    target, runner = given.pop("target") or "local", given.pop("runner") or "local"
    if target not in ("local", *CLOUDS):
        raise BadInput("TARGET", expected=f"local, {' or '.join(CLOUDS)}", found=target)
    if runner not in ("local", "docker"):
        raise BadInput("RUNNER", expected="local or docker", found=runner)
    if target != "local" and runner != "local":
        raise BadInput("RUNNER", expected=f"none beside TARGET={target}", found=runner)
    return target, runner


def _items(request: Request, needed: str, find: Find) -> list[Item]:
    if needed and not (request.image and request.truth):
        expected = "label images, matched by name" if request.image else "images"
        missing = needed if request.image else "IMAGES"
        raise BadInput(missing, expected=expected, found="nothing")
    if request.image:
        return find(request.image, request.truth)
    if request.truth:
        raise BadInput("TRUTH", expected="IMAGE beside it", found="TRUTH alone")
    image, truth = samples.sample_image()
    return find(str(image), str(truth))


def _no_items(request: Request, needed: Sequence[str]) -> list[Item]:
    """No images, for a pipeline that makes its own, or takes volumes by settings of its own."""
    taken = f"takes {', '.join(needed)}" if needed else "makes its own images"
    for name, given in (("IMAGE", request.image), ("TRUTH", request.truth)):
        if given:
            raise BadInput(name, expected=f"none: this pipeline {taken}", found=given)
    return []


def _tell(folder: Path, images: Sequence[str], seconds: float) -> None:
    here = folder.is_relative_to(Path.cwd())
    shown = folder.relative_to(Path.cwd()) if here else folder
    say()
    for line in outcome(folder):
        say(line)
    latest = " (outputs/latest)" if folder.parent == ROOT / "outputs" else ""
    say()
    say(f"done in {seconds:.0f} s: {shown}/{latest}")
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.name not in BOOKKEEPING and (path.is_file() or path.name not in images):
            say(f"  {path.name}{'/' if path.is_dir() else ''}")
    if len(images) > 1:
        say(f"  <image>/ for each of {len(images)} images")


if __name__ == "__main__":
    sys.exit(main())
