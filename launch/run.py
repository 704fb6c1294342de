"""Runs a pipeline on a user's files: ``python -m launch.run PIPELINE --image … [--channels …] …``.

Beside the launcher's own settings every parameter of the pipeline is a flag. With ``--make`` they
are taken from the environment instead (``IMAGE``, ``CHANNELS``, …), where make puts the variables
of its command line whole, whatever quotes or spaces they hold.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from cellmill.arrays.files import write_text
from cellmill.contract.cli import OneLineParser
from cellmill.errors import BadInput, CellmillError
from cellmill.uris import digest, local_path
from cellmill.version import __version__
from launch import samples
from launch.choices import flag
from launch.clouds import CLOUDS, prepare, run_in_cloud
from launch.clouds import SETTINGS as CLOUD_SETTINGS
from launch.collect import collect, link_latest
from launch.compile import pipeline_names
from launch.inputs import MAX_BATCHES, Item, cut, find_items
from launch.local import RunFailed, run_pipeline
from launch.outcome import outcome
from launch.paths import ROOT
from launch.tables import needs_truth, outputs_of

#: kfp.local works on two tasks at a time; more batches of few images only load the model again.
LOCAL_WORKERS = 2
IMAGES_PER_WORKER = 4
#: In a cloud, where every batch has machines of its own.
CLOUD_WORKERS = 16
#: Variables of the Makefile that are no settings of a run.
_MAKES_OWN = {"PYTHON", "VENV", "CLOUD", "DEV", "UV_VERSION"}
#: Parameters that the launcher fills, not the user.
_FILLED = ("batches", "items", "hard_background")
#: What a run's folder holds beside its results.
_BOOKKEEPING = ("run.json", "job.json", "artifacts")
_CASTS = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}


@dataclass(frozen=True)
class Request:
    """What the user asks for, beside the pipeline's parameters.

    Attributes:
        image: file, folder, glob or URI; empty for the sample image.
        truth: the same for label images; empty for none.
        hard_background: for training, label images of what looks like a cell and is none.
        output: the run's folder; empty for a new one under ``outputs/``.
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
        print(f"cellmill: {error}", file=sys.stderr)
        return error.exit_code if error.exit_code > 0 else 1
    except CellmillError as error:
        print(f"cellmill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cellmill: interrupted; nothing of this run goes on", file=sys.stderr)
        return 130


def _main(argv: Sequence[str]) -> int:
    name = argv[0] if argv else ""
    if name not in pipeline_names():
        raise BadInput("pipeline", expected=f"one of {', '.join(pipeline_names())}", found=name)
    spec = ROOT / "pipelines" / name / "pipeline.yaml"
    parameters = _parameters(spec)
    given = _settings(name, parameters, argv[1:])
    request = Request(*(given.pop(f.name) for f in fields(Request)))
    target, runner = _place(given)
    if target != "local":
        prepare(target, name, given)
    items = _items(request, needs_truth(name))
    workers = LOCAL_WORKERS if target == "local" else CLOUD_WORKERS
    arguments = _arguments(parameters, given, items, request, workers)
    folder = _run_folder(request, items)
    try:
        (folder / "logs").mkdir(parents=True)
    except OSError as error:
        raise BadInput(
            f"OUTPUT '{folder}'", expected="a place that can be written", found=str(error)
        ) from error
    if not request.image:
        print("no IMAGE given: this is the sample image")
    run(name, spec, arguments, folder, items, runner if target == "local" else target, given)
    return 0


def run(
    name: str,
    spec: Path,
    arguments: Mapping[str, Any],
    folder: Path,
    items: Sequence[Item],
    runner: str = "local",
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run a pipeline and fill the run's folder.

    Args:
        name: the pipeline's name.
        spec: its compiled YAML.
        arguments: its arguments.
        folder: the run's folder, with a folder ``logs`` in it.
        items: the images.
        runner: `local` or `docker`, on this machine; `vertex` or `kubeflow`.
        settings: of a run in a cloud.

    Raises:
        RunFailed: a stage failed. ``run.json`` says so; what there is stays for a look.
    """
    begun = time.monotonic()
    about: dict[str, Any] = {
        "format": "cellmill-run/1",
        "pipeline": name,
        "version": __version__,
        "runner": runner,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "images": list(items),
        "arguments": {k: v for k, v in arguments.items() if k not in _FILLED},
    }

    def note(status: str) -> None:
        about.update(status=status, seconds=round(time.monotonic() - begun, 1))
        write_text(folder / "run.json", json.dumps(about, indent=1) + "\n")

    note("running")
    try:
        if runner in CLOUDS:
            images = run_in_cloud(runner, name, arguments, folder, settings or {})
        else:
            outputs = run_pipeline(spec, arguments, folder / "artifacts", folder / "logs", runner)
            images = collect(outputs, outputs_of(name), folder)
    except BaseException as error:
        note("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    if images is None:
        note("submitted")
        print(f"submitted; its outputs: make fetch OUTPUT={os.path.relpath(folder)}")
        return
    note("succeeded")
    if folder.parent == ROOT / "outputs":
        link_latest(folder)
    _tell(folder, images, time.monotonic() - begun)


def _parameters(spec: Path) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(spec.read_text())
    return document["root"].get("inputDefinitions", {}).get("parameters", {})


def _settings(
    name: str, parameters: Mapping[str, Mapping[str, Any]], argv: Sequence[str]
) -> dict[str, str]:
    parser = OneLineParser(prog=f"launch.run {name}", allow_abbrev=False)
    parser.add_argument("--make", action="store_true", help="take settings from the environment")
    own = {
        "image": "file, folder, glob or URI; the sample image by default",
        "truth": "label images, matched by name",
        "hard_background": "for training: label images of what looks like a cell and is none",
        "output": "the run's folder; a new one under outputs/ by default",
        "runner": "local, or docker: in the images that make build-images makes",
        "target": "local, vertex or kubeflow",
        **CLOUD_SETTINGS,
    }
    for key, text in own.items():
        parser.add_argument(f"--{key.replace('_', '-')}", dest=key, default="", help=text)
    for key, declared in parameters.items():
        if key not in _FILLED and not key.endswith("_digest"):
            text = declared.get("description", "").replace("%", "%%")
            default = json.dumps(declared.get("defaultValue", "")).replace("%", "%%")
            parser.add_argument(
                f"--{key.replace('_', '-')}", dest=key, default="", help=f"{text} [{default}]"
            )
    given = vars(parser.parse_args(argv))
    if given.pop("make"):
        # For training, make has names of its own for the images and their truth.
        own_names = {"IMAGES", "LABELS"} if needs_truth(name) else set()
        _check_names({key.upper() for key in given} | own_names)
        given = {key: value or os.environ.get(key.upper(), "") for key, value in given.items()}
    return given


def _check_names(known: set[str]) -> None:
    """Refuse a variable of make's command line that is no setting: most likely a slip."""
    for name in os.environ.get("CELLMILL_SETTINGS", "").split():
        if name not in known | _MAKES_OWN:
            near = difflib.get_close_matches(name.upper(), sorted(known), 1, 0.5)
            expected = f"{near[0]}" if near else f"one of {', '.join(sorted(known))}"
            raise BadInput(f"setting {name}", expected=expected, found="no setting of that name")


def _place(given: dict[str, str]) -> tuple[str, str]:
    target, runner = given.pop("target") or "local", given.pop("runner") or "local"
    if target not in ("local", *CLOUDS):
        raise BadInput("TARGET", expected=f"local, {' or '.join(CLOUDS)}", found=target)
    if runner not in ("local", "docker"):
        raise BadInput("RUNNER", expected="local or docker", found=runner)
    if target != "local" and runner != "local":
        raise BadInput("RUNNER", expected=f"none beside TARGET={target}", found=runner)
    return target, runner


def _items(request: Request, needs_truth: bool) -> list[Item]:
    if needs_truth and not (request.image and request.truth):
        expected = "label images, matched by name" if request.image else "images"
        missing = "LABELS" if request.image else "IMAGES"
        raise BadInput(missing, expected=expected, found="nothing")
    if request.image:
        return find_items(request.image, request.truth)
    if request.truth:
        raise BadInput("TRUTH", expected="IMAGE beside it", found="TRUTH alone")
    image, truth = samples.sample_image()
    return find_items(str(image), str(truth))


def _arguments(
    parameters: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, str],
    items: list[Item],
    request: Request,
    most: int = LOCAL_WORKERS,
) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for key, declared in parameters.items():
        kind = declared["parameterType"]
        if key == "batches":
            # A slide has tasks of its own side by side: each is a batch.
            slides = "most_shards" in parameters
            workers = min(most, max(1, len(items) // IMAGES_PER_WORKER))
            arguments[key] = cut(items, MAX_BATCHES if slides else workers)
        elif key == "items":
            (arguments[key],) = cut(items, 1)
        elif key == "hard_background":
            (arguments[key],) = cut(find_items(request.image, request.hard_background), 1)
        elif key.endswith("_digest"):
            arguments[key] = _digest_of(given[key.removesuffix("_digest")])
        elif given[key]:
            text = _absolute(given[key]) if f"{key}_digest" in parameters else given[key]
            arguments[key] = _cast(key, text, kind)
    return arguments


def _absolute(uri: str) -> str:
    """A path as every task sees it, whatever folder it runs in; a name or a URI as it is."""
    return str(Path(uri).absolute()) if Path(uri).exists() else uri


def _digest_of(uri: str) -> str:
    path = local_path(uri) if uri else None
    return digest(uri) if path is not None and path.is_file() else ""


def _cast(key: str, text: str, kind: str) -> Any:
    if kind == "BOOLEAN":
        return flag(key.upper(), text)
    try:
        return _CASTS.get(kind, str)(text)
    except ValueError:
        expected = "a whole number" if kind == "NUMBER_INTEGER" else "a number"
        raise BadInput(key.upper(), expected=expected, found=repr(text)) from None


def _run_folder(request: Request, items: Sequence[Item]) -> Path:
    if request.output:
        folder = Path(request.output).absolute()
        _clear_failed(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(
                f"OUTPUT '{request.output}'",
                expected="a new or an empty folder",
                found="a file" if folder.is_file() else "a folder with files in it",
            )
        return folder
    what = items[0]["name"] if len(items) == 1 else f"{len(items)}-images"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = ROOT / "outputs" / f"{stamp}-{what}"
    count = 1
    while folder.exists():
        count += 1
        folder = ROOT / "outputs" / f"{stamp}-{what}-{count}"
    return folder


def _clear_failed(folder: Path) -> None:
    """Remove what a run that failed or was interrupted left, and nothing else."""
    about = folder / "run.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(about.read_text())["status"] in ("failed", "interrupted"):
            for left in ("artifacts", "logs"):
                shutil.rmtree(folder / left, ignore_errors=True)
            about.unlink()


def _tell(folder: Path, images: Sequence[str], seconds: float) -> None:
    here = folder.is_relative_to(Path.cwd())
    shown = folder.relative_to(Path.cwd()) if here else folder
    print()
    for line in outcome(folder):
        print(line)
    latest = " (outputs/latest)" if folder.parent == ROOT / "outputs" else ""
    print(f"\ndone in {seconds:.0f} s: {shown}/{latest}")
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.name not in _BOOKKEEPING and (path.is_file() or path.name not in images):
            print(f"  {path.name}{'/' if path.is_dir() else ''}")
    if len(images) > 1:
        print(f"  <image>/ for each of {len(images)} images")


if __name__ == "__main__":
    sys.exit(main())
