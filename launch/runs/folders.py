"""A run's folder: where it is, and which names in it are taken."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from cellmill.arrays.entries import check_name
from cellmill.arrays.folder_lock import lock_folder, unlock_folder
from cellmill.compute.processes import Process
from cellmill.errors import BadInput
from cellmill.exports.crate import FILE_NAME
from cellmill.typed_json import from_json
from launch import ROOT
from launch.compiling.renderings import TARGETS
from launch.runs.inputs import Item
from launch.runs.tables import outputs_of

#: What a run's folder holds beside its results.
BOOKKEEPING = ("run.json", "job.json", "artifacts", FILE_NAME)
#: Under what `run.json` says which process starts the tasks.
LAUNCHER = "launcher"
#: Seconds in which the tasks of a run that was killed end.
_PATIENCE = 15.0


def taken_names(pipeline: str) -> set[str]:
    """Return the names in a run's folder that are not those of images."""
    renderings = {f"pipeline.{target}.yaml" for target in TARGETS}
    return {*BOOKKEEPING, "logs", *renderings, *(row.name for row in outputs_of(pipeline))}


@dataclass(frozen=True)
class RunFolder:
    """A run's folder while it is this process's.

    Attributes:
        path: of it.
        lock: what keeps others out; tasks that are handed it keep them out as long as they last.
    """

    path: Path
    lock: int


@contextlib.contextmanager
def new_folder(output: str, items: Sequence[Item]) -> Iterator[RunFolder]:
    """Make a run's folder, with its `logs`, and keep other runs out of it within the block.

    Args:
        output: where the user wants it; empty for a new one under `outputs/`. What a run that
            failed, or was killed, left there is removed.
        items: the images, for its name.

    Raises:
        BadInput: something else is there, another run uses it, or it cannot be written.
    """
    folder = Path(output).absolute() if output else _free(items)
    if folder.exists() and not folder.is_dir():
        _refuse(folder, "a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder, 0 if _goes_on(folder) else _PATIENCE)
    except BlockingIOError:
        found = "a run that still goes on there"
        raise BadInput(f"OUTPUT '{folder}'", expected="a folder of its own", found=found) from None
    except OSError as error:
        raise BadInput(
            f"OUTPUT '{folder}'", expected="a place that can be written", found=str(error)
        ) from error
    try:
        _clear(folder, killed=lock >= 0)
        if any(folder.iterdir()):
            _refuse(folder, "a folder with files in it")
        (folder / "logs").mkdir()
        yield RunFolder(folder, lock)
    finally:
        unlock_folder(lock)


def _goes_on(folder: Path) -> bool:
    """Whether the launcher of a folder's run is seen to live."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, BadInput):
        found = json.loads((folder / "run.json").read_text())
        return bool(from_json(Process, found[LAUNCHER], LAUNCHER).is_alive())
    return False


def _refuse(folder: Path, found: str) -> NoReturn:
    raise BadInput(f"OUTPUT '{folder}'", expected="a new or an empty folder", found=found)


def _free(items: Sequence[Item]) -> Path:
    what = items[0]["name"] if len(items) == 1 else f"{len(items)}-images"
    what = what if items else "simulation"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = ROOT / "outputs" / f"{stamp}-{what}"
    count = 1
    while folder.exists():
        count += 1
        folder = ROOT / "outputs" / f"{stamp}-{what}-{count}"
    return folder


def _clear(folder: Path, *, killed: bool) -> None:
    """Remove what a run left that did not end well, and nothing else.

    Args:
        folder: of the run.
        killed: whether one that says that it goes on is known not to.
    """
    about = folder / "run.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(about.read_text())
        if found["status"] in ("failed", "interrupted", *(["running"] if killed else [])):
            names = {
                "artifacts",
                "logs",
                FILE_NAME,
                *(item["name"] for item in found.get("images", ())),
            }
            if found.get("pipeline"):
                names |= {Path(row.name).parts[0] for row in outputs_of(found["pipeline"])}
            for name in names:
                _remove(folder / check_name(name))
            about.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
