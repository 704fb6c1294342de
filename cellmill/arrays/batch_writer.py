"""Writes a batch of images: entry by entry, the manifest last, gone on with after a kill."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from cellmill.arrays import npz, resume
from cellmill.arrays.batch_folder import BatchFolder, files_of
from cellmill.arrays.entries import FORMAT, MANIFEST, ArrayInfo, Container, Entry, check_name
from cellmill.arrays.files import absolute_place, open_staged, sync_files, write_text
from cellmill.arrays.lease import hold, may_remove
from cellmill.arrays.windows import Grid, Windowed, WritableWindowed, sections_of
from cellmill.errors import BadInput


class BatchWriter:
    """Writes a batch; the manifest is written last, when the block ends without an error.

    After an error nothing is left of what was written. What lay in the folder from an earlier,
    complete batch is replaced. What a killed process left there is gone on with if it was the same
    work (see `cellmill.arrays.resume`), and else replaced: `has` says which entries are there.

    Args:
        folder: of the batch.
        attributes: JSON values about the batch as a whole.
        run: the run at hand, as a batch that is read says (`Batch.run`); empty for a new one.
    """

    def __init__(
        self, folder: Path, attributes: Mapping[str, Any] | None = None, *, run: str = ""
    ) -> None:
        self.folder = Path(folder)
        self.attributes = dict(attributes or {})
        self._entries: dict[str, Entry] = {}
        self._place = BatchFolder(self.folder, run)
        self._stores: dict[str, str] = {}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What has been written so far, in order."""
        return tuple(self._entries.values())

    def has(self, name: str) -> bool:
        """Whether an entry was complete when a process before this one was killed."""
        return name in self._entries and self._place.keeps(name)

    def error_of(self, name: str) -> str:
        """Why an entry that is there was skipped; empty where it was not."""
        return self._entries[name].error

    def __enter__(self) -> BatchWriter:
        self._entries = self._place.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failed = True
        try:
            if kind is None:
                self._write_manifest()
                failed = False
        finally:
            if failed:
                self._remove_all()
            self._place.end(failed=failed)

    def _remove_all(self) -> None:
        for entry in self._entries.values():
            self._remove_files(entry)
        for name, uri in self._stores.items():
            self._remove_files(Entry(name))
            _remove_store(uri)

    def _write_manifest(self) -> None:
        document = {
            "format": FORMAT,
            "attributes": self.attributes,
            "entries": [asdict(entry) for entry in self._entries.values()],
        }
        # A manifest that outlives a loss of power must not name files that do not.
        names = [name for e in self._entries.values() for name in files_of(e.name, e.files)]
        sync_files([self.folder / name for name in names])
        write_text(self.folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True) + "\n")

    def finish(self, name: str) -> None:
        """Say that an entry is complete: it is kept if this process is killed from here on."""
        if name in self._entries:
            self._place.keep(list(self._entries).index(name), self._entries[name])

    def scratch(self, name: str) -> str:
        """A folder to work in on an entry; it outlasts a kill, not the batch."""
        return self._place.scratch(name)

    def write(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        *,
        axes: Mapping[str, str],
        mpp: tuple[float, ...] | None = None,
        mpp_source: str = "unknown",
        channels: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        container: Container = "npz",
        store: str = "",
    ) -> None:
        """Write whole arrays as the entry `name`; see `create` for the arguments."""
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
        mpp: tuple[float, ...] | None = None,
        mpp_source: str = "unknown",
        channels: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        container: Container = "npz",
        store: str = "",
    ) -> Iterator[Mapping[str, WritableWindowed]]:
        """Create the entry `name` with arrays to be filled window by window.

        Args:
            name: the image's name.
            arrays: (shape, dtype, axes) by key; none where there is nothing to say but attributes.
            mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
            mpp_source: where it came from.
            channels: channel names.
            attributes: JSON values that travel with the image; may be added to within the block.
            container: what the arrays lie in: an `.npz` or a Zarr store.
            store: folder or URI under which the Zarr store `<name>.zarr` goes; empty is the
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
        mpp: tuple[float, ...] | None,
        mpp_source: str,
        channels: Sequence[str],
        attributes: Mapping[str, Any] | None,
        store: str,
    ) -> Iterator[Mapping[str, WritableWindowed]]:
        from cellmill.arrays.zarr import create_zarr

        uri = self.store_uri(name, store)
        if store:
            self._place.note_run()
            hold(_place_of(uri), self._place.run, begins=True)
        shown = uri if store else f"{name}.zarr"
        self._stores[name] = uri
        made = create_zarr(uri, arrays, mpp=mpp, channels=channels, work=resume.fingerprint())
        yield made
        infos = {
            key: ArrayInfo(
                tuple(int(n) for n in shape),
                str(np.dtype(dtype)),
                axes,
                _sum(f"{name}/{key}", made[key], axes),
                f"{shown}/{key}/0",
            )
            for key, (shape, dtype, axes) in arrays.items()
        }
        self._enter(name, infos, mpp, mpp_source, channels, attributes)

    def _enter(
        self,
        name: str,
        arrays: Mapping[str, ArrayInfo],
        mpp: tuple[float, ...] | None,
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

    def refer(self, entry: Entry, folder: Path, **attributes: Any) -> None:
        """Take up an entry of another batch whose arrays lie in stores; they stay where they are.

        Args:
            entry: the other batch's.
            folder: the other batch's.
            **attributes: JSON values to be added.
        """
        arrays = {
            key: replace(info, store=info.store_in(folder)) for key, info in entry.arrays.items()
        }
        if any(info.store for info in arrays.values()):
            self._place.note_run()
        self._entries[entry.name] = replace(
            entry, arrays=arrays, files={}, attributes={**entry.attributes, **attributes}
        )

    def store_uri(self, name: str, store: str = "") -> str:
        """Where the Zarr store of an entry goes; see `create` for the arguments."""
        return f"{absolute_place(store or str(self.folder))}/{check_name(name)}.zarr"

    @contextlib.contextmanager
    def open(self, name: str, suffix: str) -> Iterator[IO[bytes]]:
        """Open the file `<name>.<suffix>` of an entry for writing (and reading back)."""
        filename = f"{check_name(name)}.{suffix}"
        with open_staged(self.folder / filename) as file:
            yield file
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(old, files={**old.files, suffix: filename})

    @contextlib.contextmanager
    def folder_of(self, name: str, suffix: str) -> Iterator[Path]:
        """Give the empty folder `<name>.<suffix>` of an entry, to be filled within the block."""
        filename = f"{check_name(name)}.{suffix}"
        folder = (self.folder / filename).absolute()
        self._place.remove([filename])
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
        self._place.remove(files_of(entry.name, entry.files))


def _remove_store(uri: str) -> None:
    """Remove a store that was begun, unless another run has taken the place over."""
    from cellmill.arrays.store import remove

    with contextlib.suppress(BadInput):
        if may_remove(_place_of(uri)):
            remove(uri)


def _place_of(uri: str) -> str:
    """The folder or URI in which a store lies, and of which the lease is."""
    return uri.rsplit("/", 1)[0]


def _sum(what: str, array: Windowed, axes: str) -> int:
    """A number for the values of an array that differs where they do.

    They follow from the work at hand. Where that has no name they are read, shard by shard.
    """
    if resume.fingerprint():
        return resume.checksum(resume.fingerprint(), what)
    from cellmill.arrays.zarr import SHARD

    value = 0
    for plane in sections_of(array, len(axes.removeprefix("Z"))):
        grid = Grid((plane.shape[0], plane.shape[1]), SHARD)
        for tile in range(len(grid)):
            value = zlib.crc32(np.ascontiguousarray(plane[grid.box(tile).slices]).data, value)
    return value
