"""A batch of images on disk: one folder, one entry per image, and a manifest written last.

The folder counts only once `manifest.json` is there. An entry has arrays, in an `.npz` or a
Zarr store, or other files (a table, a report), or both, or neither where its image was skipped. A
store may lie elsewhere, in a bucket too: the manifest then says where.

Until the manifest is there, each entry that is complete leaves its part of it beside the files. A
stage that was killed and is started again on the same inputs keeps those entries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays import npz
from cellmill.arrays.batch_folder import run_of
from cellmill.arrays.entries import (
    FORMAT,
    MANIFEST,
    ArrayInfo,
    Entry,
    Manifest,
    check_name,
)
from cellmill.arrays.lease import hold
from cellmill.arrays.resume import checksum
from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.errors import BadInput
from cellmill.typed_json import WrongField, from_json

__all__ = ["MANIFEST", "ArrayInfo", "Batch", "Entry", "check_name"]

_AXES_BY_NDIM = {0: "", 1: "I", 2: "YX", 3: "YXC", 4: "ZYXC"}


@dataclass(frozen=True)
class Batch:
    """A batch that is complete, open for reading.

    Attributes:
        folder: where its files are.
        entries: its images, in order.
        attributes: JSON values about the batch as a whole.
    """

    folder: Path
    entries: tuple[Entry, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Batch:
        """Open a batch: its folder, or a single entry's file (then a batch of one).

        Args:
            path: a folder with a manifest; or one file or store of such a folder; or any `.npz`
                or OME-Zarr 0.5.

        Raises:
            BadInput: there is no complete batch at the path.
        """
        path = Path(path)
        if path.is_dir() and path.suffix != ".zarr":
            return cls._open_folder(path)
        if not path.exists():
            raise BadInput(f"batch '{path}'", expected="a folder or a file", found="nothing there")
        if (path.parent / MANIFEST).is_file():
            batch = cls._open_folder(path.parent)
            mine = [
                e
                for e in batch.entries
                if path.name in e.files.values()
                or (e.arrays and path.name in (f"{e.name}.npz", f"{e.name}.zarr"))
            ]
            if mine:
                return replace(batch, entries=(mine[0],))
        if path.is_dir():
            return cls(path.parent, (_entry_of_store(path),))
        if path.suffix != ".npz":
            return cls(path.parent, (Entry(path.stem, files={path.suffix[1:]: path.name}),))
        arrays = {
            key: ArrayInfo(a.shape, str(a.dtype), _AXES_BY_NDIM.get(a.ndim, "?"))
            for key, a in npz.read_npz(path).items()
        }
        return cls(path.parent, (Entry(path.stem, arrays=arrays),))

    @classmethod
    def _open_folder(cls, folder: Path) -> Batch:
        path = folder / MANIFEST
        try:
            found = from_json(Manifest, json.loads(path.read_text()), "")
        except FileNotFoundError:
            raise BadInput(
                f"batch '{folder}'", expected=f"a {MANIFEST}", found="none (unfinished or no batch)"
            ) from None
        except WrongField as wrong:
            place = f", {wrong.place}" if wrong.place else ""
            raise BadInput(
                f"manifest '{path}'{place}",
                expected=f"{wrong.expected} ({FORMAT})",
                found=wrong.found,
            ) from None
        except (ValueError, OSError, RecursionError) as error:
            raise BadInput(
                f"manifest '{path}'", expected=FORMAT, found=f"{type(error).__name__}: {error}"
            ) from error
        return cls(folder, found.entries, found.attributes)

    @property
    def run(self) -> str:
        """The run that it is of, where it has stores elsewhere; empty where it does not say."""
        return run_of(self.folder)

    def entry(self, name: str) -> Entry:
        """Return the entry of that name.

        Raises:
            BadInput: there is none.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        names = ", ".join(e.name for e in self.entries[:5])
        raise BadInput(f"batch '{self.folder}'", expected=f"an entry '{name}'", found=names or "0")

    def counterpart(self, entry: Entry, of: Batch) -> Entry | None:
        """Find what belongs to an entry of another batch: by name, or the only one to the only one.

        Args:
            entry: the other batch's entry.
            of: the other batch.

        Returns:
            The entry of this batch, None where there is none.
        """
        if len(self.entries) == len(of.entries) == 1:
            return self.entries[0]
        return next((each for each in self.entries if each.name == entry.name), None)

    def read(self, entry: Entry, key: str) -> np.ndarray:
        """Read one array of an entry whole.

        Raises:
            BadInput: the entry has no such array, or its file or store is damaged.
        """
        return np.asarray(self.array(entry, key))

    def array(self, entry: Entry, key: str) -> Windowed:
        """Open one array of an entry, to be read by windows.

        Raises:
            BadInput: the entry has no such array, or its file or store is damaged.
        """
        if key not in entry.arrays:
            raise BadInput(
                f"'{entry.name}' in '{self.folder}'",
                expected=f"an array '{key}'",
                found=", ".join(entry.arrays) or "no arrays",
            )
        info = entry.arrays[key]
        if info.store:
            array: Windowed = self.store(entry, key)
            place = info.store
        else:
            path = self.folder / f"{entry.name}.npz"
            arrays = npz.read_npz(path)
            if key not in arrays:
                raise BadInput(f"array file '{path}'", expected=f"'{key}'", found="none")
            array, place = arrays[key], str(path)
        if array.shape != tuple(info.shape):
            raise BadInput(
                f"array file '{place}'",
                expected=f"'{key}' of shape {tuple(info.shape)}, as its manifest says",
                found=f"{array.shape}",
            )
        return array

    def store(self, entry: Entry, key: str, *, write: bool = False) -> WritableWindowed:
        """Open an array that lies in a Zarr store, to be written too if asked for.

        A store outside of the batch is held meanwhile (see `cellmill.arrays.lease`).

        Raises:
            BadInput: it lies in none, the store cannot be reached, or another run has it.
        """
        from cellmill.arrays.zarr import open_zarr, work_of

        info = entry.arrays[key]
        if not info.store:
            raise BadInput(
                f"'{key}' of '{entry.name}' in '{self.folder}'",
                expected="a Zarr array",
                found="one in an .npz",
            )
        uri = info.store_in(self.folder)
        if self.run and info.elsewhere:
            store = uri.rsplit("/", 2)[0]
            hold(store.rsplit("/", 1)[0], self.run, writes=write)
            work = work_of(store)
            if work and checksum(work, f"{entry.name}/{key}") != info.crc32:
                raise BadInput(
                    f"store '{store}'",
                    expected=f"what batch '{self.folder}' left there",
                    found="what other work made there since",
                )
        return open_zarr(uri, info.axes, write=write)

    def file(self, entry: Entry, suffix: str) -> Path:
        """Return the path of an entry's file.

        Raises:
            BadInput: the entry has no such file.
        """
        if suffix not in entry.files:
            raise BadInput(
                f"'{entry.name}' in '{self.folder}'",
                expected=f"a .{suffix} file",
                found=", ".join(entry.files) or "no files",
            )
        return self.folder / entry.files[suffix]


def _entry_of_store(path: Path) -> Entry:
    """The entry that an OME-Zarr of any making is."""
    from cellmill.arrays.ome import read_image
    from cellmill.arrays.zarr import open_zarr

    image = read_image(str(path.absolute()))
    if image.axes not in ("yx", "cyx"):
        raise BadInput(f"Zarr '{path}'", expected="axes yx or cyx", found=f"axes {image.axes}")
    finest = image.levels[0]
    axes = "YXC" if image.axes == "cyx" else "YX"
    array = open_zarr(finest.uri, axes)
    return Entry(
        path.name.removesuffix(".zarr").removesuffix(".ome"),
        arrays={"image": ArrayInfo(array.shape, str(array.dtype), axes, 0, finest.uri)},
        mpp=finest.mpp,
        mpp_source="OME-Zarr" if finest.mpp else "unknown",
        channels=image.channels,
    )
