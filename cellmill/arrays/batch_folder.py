"""The folder of a batch while one process writes it, and what a killed process left there.

Until the manifest is there, each entry that is complete leaves its part of it in `.parts`, and a
mark says whose work that is. A stage that was killed and is started again on the same inputs keeps
those entries. The folder is locked meanwhile: a second process does not write into it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from cellmill.arrays import npz, resume
from cellmill.arrays.entries import MANIFEST, Entry
from cellmill.arrays.files import write_text
from cellmill.arrays.folder_lock import InUse, lock_folder, unlock_folder
from cellmill.arrays.lease import run_name
from cellmill.compute.faults import out_of
from cellmill.errors import BadInput
from cellmill.typed_json import from_json

#: Entries that are complete while the batch is not, and whose work it is.
_PARTS, _WORK = ".parts", ".work"
#: The run that made the batch; it is no part of what the batch is known by.
_RUN = ".run"


class BatchFolder:
    """A batch's folder, from the beginning of its writing to the end.

    Args:
        path: of the folder; it need not exist.
        run: the run that writes; empty for a new one, or the one that wrote here before.

    Attributes:
        path: of the folder.
        run: the run that writes, once it has begun.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path, self.run = path, run
        self._existed = path.exists()
        self._others: set[str] = set()
        self._lock = -1

    def begin(self) -> dict[str, Entry]:
        """Lock the folder and make room in it.

        Returns:
            The entries that a process before this one had completed, in order.

        Raises:
            InUse: another process writes there.
            BadInput: it is no folder, has other files, or cannot be written.
            MachineFault: the disk is full.
        """
        if self._existed and not self.path.is_dir():
            raise BadInput(f"output '{self.path}'", expected="a folder", found="a file")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A bucket's mount has no locks; there each task has a folder of its own.
            self._lock = lock_folder(self.path)
            entries = self._take_up()
            self.run = run_name(self.run or run_of(self.path))
            (self.path / _PARTS).mkdir(exist_ok=True)
            mark = {"work": resume.fingerprint(), "others": sorted(self._others)}
            write_text(self.path / _PARTS / _WORK, json.dumps(mark))
        except BlockingIOError:
            raise InUse(
                f"output '{self.path}'",
                expected="a folder that no other process writes to",
                found="one that is being written",
            ) from None
        except OSError as error:
            self.end(failed=True)
            what = f"output '{self.path}'"
            raise out_of(error.errno, what) or BadInput(
                what, expected="a place that can be written", found=str(error)
            ) from error
        except BadInput:
            self._unlock()
            raise
        return entries

    def keep(self, place: int, entry: Entry) -> None:
        """Have an entry outlast a kill: it is complete.

        Args:
            place: its number among the entries.
            entry: it.
        """
        part = {"place": place, "entry": asdict(entry)}
        write_text(self._part(entry.name), json.dumps(part, sort_keys=True))

    def keeps(self, name: str) -> bool:
        """Whether an entry of that name would outlast a kill."""
        return self._part(name).exists()

    def scratch(self, name: str) -> str:
        """A folder to work in on an entry; it outlasts a kill, not the batch."""
        return str((self.path / _PARTS / f"{name}.scratch").absolute())

    def note_run(self) -> None:
        """Say in the folder which run it is of: its stores lie elsewhere, and are held by it."""
        write_text(self.path / _RUN, self.run)

    def remove(self, names: Iterable[str]) -> None:
        """Remove some files or folders, as far as they are there."""
        for name in names:
            _remove(self.path / name)

    def end(self, *, failed: bool) -> None:
        """Leave the folder: a batch, or after a failure nothing but what others put there."""
        with contextlib.suppress(OSError):
            _remove(self.path / _PARTS)
            if failed and not self._existed:
                _remove(self.path / _RUN)
                self.path.rmdir()
        self._unlock()

    def _part(self, name: str) -> Path:
        return self.path / _PARTS / f"{name}.json"

    def _unlock(self) -> None:
        unlock_folder(self._lock)
        self._lock = -1

    def _take_up(self) -> dict[str, Entry]:
        parts = self.path / _PARTS
        if (self.path / MANIFEST).exists():
            _remove_batch(self.path)
            _remove(parts)
            self._others = {path.name for path in self.path.iterdir()} - {_RUN}
            return {}
        if (parts / _WORK).is_file():
            return self._left()
        if self._existed and {path.name for path in self.path.iterdir()} - {_RUN, _PARTS}:
            raise BadInput(
                f"output '{self.path}'",
                expected="an empty folder, or a batch to replace",
                found="a folder with other files",
            )
        return {}

    def _left(self) -> dict[str, Entry]:
        """Keep the complete entries of the same work; remove all else that was left."""
        parts = self.path / _PARTS
        work = ""
        # A mark that cannot be read names no files of others: then nothing but parts is removed.
        others = {path.name for path in self.path.iterdir()}
        with contextlib.suppress(ValueError, KeyError, TypeError):
            mark = json.loads((parts / _WORK).read_text())
            work, others = str(mark["work"]), set(mark["others"])
        self._existed, self._others = bool(others), others
        mine = bool(work) and work == resume.fingerprint()
        found: list[tuple[int, Entry]] = []
        for path in parts.glob("*.json") if mine else ():
            with contextlib.suppress(BadInput, ValueError, KeyError, TypeError):
                raw = json.loads(path.read_text())
                entry = from_json(Entry, raw["entry"], "")
                # A machine without power may have kept the mark, and not what it stands for.
                if self._is_there(entry):
                    found.append((int(raw["place"]), entry))
        entries = {entry.name: entry for _, entry in sorted(found, key=lambda part: part[0])}
        kept = {_PARTS, _RUN, *others}
        for entry in entries.values():
            kept |= {*entry.files.values(), f"{entry.name}.npz"}
        for path in self.path.iterdir():
            # Stores are gone on with in the middle; their own ledgers say what is done.
            if path.name not in kept and not (mine and path.suffix == ".zarr"):
                _remove(path)
        if not mine:
            _remove(parts)
        return entries

    def _is_there(self, entry: Entry) -> bool:
        """Whether the files of an entry are there; an `.npz` is compared with its checksums."""
        sums = {key: info.crc32 for key, info in entry.arrays.items() if not info.store}
        if sums and not npz.is_intact(self.path / f"{entry.name}.npz", sums):
            return False
        return all((self.path / name).exists() for name in entry.files.values())


def run_of(folder: Path) -> str:
    """The run that a batch is of; empty where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / _RUN).read_text().strip()
    return ""


def files_of(name: str, files: Mapping[str, str]) -> list[str]:
    """The files that an entry may have in its batch's folder."""
    return [*files.values(), f"{name}.npz", f"{name}.zarr"]


def _remove_batch(folder: Path) -> None:
    """Remove a complete batch's files, manifest first, so that what is left is no batch."""
    manifest = folder / MANIFEST
    names: list[str] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        for raw in json.loads(manifest.read_text())["entries"]:
            names += files_of(raw["name"], raw["files"])
    manifest.unlink()
    for name in names:
        if Path(name).name == name:
            _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
