"""Writes a batch of images: entry by entry, the manifest last, gone on with after a kill."""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from cellmill.arrays import npz, resume
from cellmill.arrays.entries import (
    FORMAT,
    MANIFEST,
    ArrayInfo,
    Entry,
    check_name,
    entry_from_json,
)
from cellmill.arrays.files import absolute_place, open_staged, write_text
from cellmill.arrays.windows import Grid, Windowed, WritableWindowed
from cellmill.errors import BadInput

if TYPE_CHECKING:
    from cellmill.arrays.batch import Batch

Container = Literal["npz", "zarr"]
#: Entries that are complete while the batch is not, and whose work it is.
_PARTS, _WORK = ".parts", ".work"


class BatchWriter:
    """Writes a batch; the manifest is written last, when the block ends without an error.

    After an error nothing is left of what was written. What lay in the folder from an earlier,
    complete batch is replaced. What a killed process left there is gone on with if it was the same
    work (see ``cellmill.arrays.resume``), and else replaced: ``has`` says which entries are there.
    """

    def __init__(self, folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        self.attributes = dict(attributes or {})
        self._entries: dict[str, Entry] = {}
        self._existed = self.folder.exists()
        self._stores: dict[str, str] = {}
        self._others: set[str] = set()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What has been written so far, in order."""
        return tuple(self._entries.values())

    def has(self, name: str) -> bool:
        """Whether an entry was complete when a process before this one was killed."""
        return name in self._entries and self._part(name).exists()

    def error_of(self, name: str) -> str:
        """Why an entry that is there was skipped; empty where it was not."""
        return self._entries[name].error

    def __enter__(self) -> BatchWriter:
        parts = self.folder / _PARTS
        if self._existed and not self.folder.is_dir():
            raise BadInput(f"output '{self.folder}'", expected="a folder", found="a file")
        if (self.folder / MANIFEST).exists():
            _remove_batch(self.folder)
            _remove(parts)
            self._others = {path.name for path in self.folder.iterdir()}
        elif (parts / _WORK).is_file():
            self._take_up()
        elif self._existed and any(self.folder.iterdir()):
            raise BadInput(
                f"output '{self.folder}'",
                expected="an empty folder, or a batch to replace",
                found="a folder with other files",
            )
        try:
            parts.mkdir(parents=True, exist_ok=True)
            mark = {"work": resume.fingerprint(), "others": sorted(self._others)}
            write_text(parts / _WORK, json.dumps(mark))
        except OSError as error:
            raise BadInput(
                f"output '{self.folder}'", expected="a place that can be written", found=str(error)
            ) from error
        return self

    def _take_up(self) -> None:
        """Keep the complete entries of the same work; remove all else that was left."""
        parts = self.folder / _PARTS
        work = ""
        # A mark that cannot be read names no files of others: then nothing but parts is removed.
        others = {path.name for path in self.folder.iterdir()}
        with contextlib.suppress(ValueError, KeyError, TypeError):
            mark = json.loads((parts / _WORK).read_text())
            work, others = str(mark["work"]), set(mark["others"])
        self._existed, self._others = bool(others), others
        mine = bool(work) and work == resume.fingerprint()
        left: list[tuple[int, Entry]] = []
        for path in parts.glob("*.json") if mine else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                raw = json.loads(path.read_text())
                left.append((int(raw["place"]), entry_from_json(raw["entry"])))
        self._entries = {entry.name: entry for _, entry in sorted(left, key=lambda part: part[0])}
        kept = {_PARTS, *others}
        for entry in self._entries.values():
            kept |= {*entry.files.values(), f"{entry.name}.npz"}
        for path in self.folder.iterdir():
            # Stores are gone on with in the middle; their own ledgers say what is done.
            if path.name not in kept and not (mine and path.suffix == ".zarr"):
                _remove(path)
        if not mine:
            _remove(parts)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            for entry in self._entries.values():
                self._remove_files(entry)
            for name, uri in self._stores.items():
                self._remove_files(Entry(name))
                _remove_store(uri)
            _remove(self.folder / _PARTS)
            if not self._existed:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
            return
        document = {
            "format": FORMAT,
            "attributes": self.attributes,
            "entries": [asdict(entry) for entry in self._entries.values()],
        }
        write_text(self.folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True) + "\n")
        _remove(self.folder / _PARTS)

    def finish(self, name: str) -> None:
        """Say that an entry is complete: it is kept if this process is killed from here on."""
        if name in self._entries:
            place = list(self._entries).index(name)
            part = {"place": place, "entry": asdict(self._entries[name])}
            write_text(self._part(name), json.dumps(part, sort_keys=True))

    def scratch(self, name: str) -> str:
        """A folder to work in on an entry; it outlasts a kill, not the batch."""
        return str((self.folder / _PARTS / f"{name}.scratch").absolute())

    def _part(self, name: str) -> Path:
        return self.folder / _PARTS / f"{name}.json"

    def write(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        *,
        axes: Mapping[str, str],
        mpp: tuple[float, float] | None = None,
        mpp_source: str = "unknown",
        channels: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        container: Container = "npz",
        store: str = "",
    ) -> None:
        """Write whole arrays as the entry ``name``; see ``create`` for the arguments."""
        layout = {key: (a.shape, a.dtype, axes[key]) for key, a in arrays.items()}
        with self.create(
            name,
            layout,
            mpp=mpp,
            mpp_source=mpp_source,
            channels=channels,
            attributes=attributes,
            container=container,
            store=store,
        ) as out:
            for key, array in arrays.items():
                out[key][...] = array

    @contextlib.contextmanager
    def create(
        self,
        name: str,
        arrays: Mapping[str, tuple[tuple[int, ...], np.dtype | type | str, str]],
        *,
        mpp: tuple[float, float] | None = None,
        mpp_source: str = "unknown",
        channels: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        container: Container = "npz",
        store: str = "",
    ) -> Iterator[Mapping[str, WritableWindowed]]:
        """Create the entry ``name`` with arrays to be filled window by window.

        Args:
            name: the image's name.
            arrays: (shape, dtype, axes) by key; none where there is nothing to say but attributes.
            mpp: pixel size (y, x) in microns, None where unknown.
            mpp_source: where it came from.
            channels: channel names.
            attributes: JSON values that travel with the image; may be added to within the block.
            container: what the arrays lie in: an ``.npz`` or a Zarr store.
            store: folder or URI under which the Zarr store ``<name>.zarr`` goes; empty is the
                batch's own folder.

        Yields:
            Writable, zero-filled arrays by key.
        """
        path = self.folder / f"{check_name(name)}.npz"
        if arrays and container == "zarr":
            with self._refer(name, arrays, mpp, mpp_source, channels, attributes, store) as made:
                yield made
            return
        if arrays:
            layout = {key: (shape, dtype) for key, (shape, dtype, _) in arrays.items()}
            with npz.create_npz(path, layout) as out:
                yield out
            sums = npz.checksums(path)
        else:
            yield {}
            sums = {}
        infos = {
            key: ArrayInfo(tuple(int(n) for n in shape), str(np.dtype(dtype)), axes, sums[key])
            for key, (shape, dtype, axes) in arrays.items()
        }
        self._enter(name, infos, mpp, mpp_source, channels, attributes)

    @contextlib.contextmanager
    def _refer(
        self,
        name: str,
        arrays: Mapping[str, tuple[tuple[int, ...], np.dtype | type | str, str]],
        mpp: tuple[float, float] | None,
        mpp_source: str,
        channels: Sequence[str],
        attributes: Mapping[str, Any] | None,
        store: str,
    ) -> Iterator[Mapping[str, WritableWindowed]]:
        from cellmill.arrays.zarr import create_zarr

        uri = self.store_uri(name, store)
        shown = uri if store else f"{name}.zarr"
        self._stores[name] = uri
        made = create_zarr(uri, arrays, mpp=mpp, channels=channels, work=resume.fingerprint())
        yield made
        infos = {
            key: ArrayInfo(
                tuple(int(n) for n in shape),
                str(np.dtype(dtype)),
                axes,
                _sum(f"{name}/{key}", made[key]),
                f"{shown}/{key}/0",
            )
            for key, (shape, dtype, axes) in arrays.items()
        }
        self._enter(name, infos, mpp, mpp_source, channels, attributes)

    def _enter(
        self,
        name: str,
        arrays: Mapping[str, ArrayInfo],
        mpp: tuple[float, float] | None,
        mpp_source: str,
        channels: Sequence[str],
        attributes: Mapping[str, Any] | None,
    ) -> None:
        """Take an entry's arrays down, once they are written whole."""
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(
            old,
            arrays=arrays,
            mpp=mpp,
            mpp_source=mpp_source,
            channels=tuple(channels),
            attributes={**old.attributes, **(attributes or {})},
        )

    def refer(self, entry: Entry, of: Batch, **attributes: Any) -> None:
        """Take up an entry of another batch whose arrays lie in stores; they stay where they are.

        Args:
            entry: the other batch's.
            of: the other batch.
            **attributes: JSON values to be added.
        """
        arrays = {key: replace(info, store=of.store_of(info)) for key, info in entry.arrays.items()}
        self._entries[entry.name] = replace(
            entry, arrays=arrays, files={}, attributes={**entry.attributes, **attributes}
        )

    def store_uri(self, name: str, store: str = "") -> str:
        """Where the Zarr store of an entry goes; see ``create`` for the arguments."""
        return f"{absolute_place(store or str(self.folder))}/{check_name(name)}.zarr"

    @contextlib.contextmanager
    def open(self, name: str, suffix: str) -> Iterator[IO[bytes]]:
        """Open the file ``<name>.<suffix>`` of an entry for writing (and reading back)."""
        filename = f"{check_name(name)}.{suffix}"
        with open_staged(self.folder / filename) as file:
            yield file
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(old, files={**old.files, suffix: filename})

    @contextlib.contextmanager
    def folder_of(self, name: str, suffix: str) -> Iterator[Path]:
        """Give the empty folder ``<name>.<suffix>`` of an entry, to be filled within the block."""
        filename = f"{check_name(name)}.{suffix}"
        folder = (self.folder / filename).absolute()
        _remove(folder)
        folder.mkdir()
        yield folder
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(old, files={**old.files, suffix: filename})

    def annotate(self, name: str, **attributes: Any) -> None:
        """Add attributes to an entry, which is made if it is not there yet."""
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(old, attributes={**old.attributes, **attributes})

    def skip(self, entry: Entry, error: str) -> None:
        """Say that an image was left out and why; what was written of it is removed."""
        old = self._entries.get(entry.name, Entry(entry.name))
        self._remove_files(old)
        if entry.name in self._stores:
            _remove_store(self._stores.pop(entry.name))
        self._entries[entry.name] = Entry(
            entry.name, "skipped", error, attributes=dict(entry.attributes)
        )

    def _remove_files(self, entry: Entry) -> None:
        for filename in _files_of(entry.name, entry.files):
            _remove(self.folder / filename)


def _remove_batch(folder: Path) -> None:
    """Remove a complete batch's files, manifest first, so that what is left is no batch."""
    manifest = folder / MANIFEST
    names: list[str] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        for raw in json.loads(manifest.read_text())["entries"]:
            names += _files_of(raw["name"], raw["files"])
    manifest.unlink()
    for name in names:
        if Path(name).name == name:
            _remove(folder / name)


def _remove_store(uri: str) -> None:
    from cellmill.arrays.store import remove

    with contextlib.suppress(BadInput):
        remove(uri)


def _sum(what: str, array: Windowed) -> int:
    """A number for the values of an array that differs where they do.

    They follow from the work at hand. Where that has no name they are read, shard by shard.
    """
    if resume.fingerprint():
        return zlib.crc32(f"{resume.fingerprint()}/{what}".encode())
    from cellmill.arrays.zarr import SHARD

    value = 0
    grid = Grid((array.shape[0], array.shape[1]), SHARD)
    for tile in range(len(grid)):
        value = zlib.crc32(np.ascontiguousarray(array[grid.box(tile).slices]).data, value)
    return value


def _files_of(name: str, files: Mapping[str, str]) -> list[str]:
    return [*files.values(), f"{name}.npz", f"{name}.zarr"]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
