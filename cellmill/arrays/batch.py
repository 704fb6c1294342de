"""A batch of images on disk: one folder, one entry per image, and a manifest written last.

The folder counts only once ``manifest.json`` is there. An entry has arrays, in an ``.npz`` or a
Zarr store, or other files (a table, a report), or both, or neither where its image was skipped. A
store may lie elsewhere, in a bucket too: the manifest then says where.

Until the manifest is there, each entry that is complete leaves its part of it beside the files. A
stage that was killed and is started again on the same inputs keeps those entries.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np

from cellmill.arrays import npz, resume
from cellmill.arrays.files import open_staged, write_text
from cellmill.arrays.windows import Grid, Windowed, WritableWindowed
from cellmill.errors import BadInput

MANIFEST = "manifest.json"
FORMAT = "cellmill-batch/1"
Container = Literal["npz", "zarr"]
#: Entries that are complete while the batch is not, and whose work it is.
_PARTS, _WORK = ".parts", "work"
_AXES_BY_NDIM = {0: "", 1: "I", 2: "YX", 3: "YXC", 4: "ZYXC"}


@dataclass(frozen=True)
class ArrayInfo:
    """Shape, dtype and named axes of an array, and where it lies.

    Attributes:
        shape: in the order of `axes`.
        dtype: its name.
        axes: a letter each.
        crc32: of its ``.npy`` member; for an array in a Zarr store a number that differs where the
            array was made otherwise.
        store: the Zarr array, a path relative to the batch or a URI; empty: the entry's ``.npz``.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: str
    crc32: int = 0
    store: str = ""


@dataclass(frozen=True)
class Entry:
    """One image of a batch.

    Attributes:
        name: its name, unique in the batch; file names begin with it.
        status: ``"ok"`` or ``"skipped"``.
        error: the one line that says why it was skipped, else empty.
        arrays: what its ``.npz`` holds, by key.
        files: other files, by suffix (``"csv"``), relative to the batch.
        mpp: pixel size (y, x) in microns, or None where it is unknown.
        mpp_source: where the pixel size came from.
        channels: channel names along C.
        attributes: JSON values that travel with the image.
    """

    name: str
    status: str = "ok"
    error: str = ""
    arrays: Mapping[str, ArrayInfo] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    mpp: tuple[float, float] | None = None
    mpp_source: str = "unknown"
    channels: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the image got here whole."""
        return self.status == "ok"


def _entry_from_json(raw: Mapping[str, Any]) -> Entry:
    known = {
        **raw,
        "arrays": {
            key: ArrayInfo(
                tuple(info["shape"]),
                info["dtype"],
                info["axes"],
                info["crc32"],
                info.get("store", ""),
            )
            for key, info in raw["arrays"].items()
        },
        "mpp": tuple(raw["mpp"]) if raw["mpp"] else None,
        "channels": tuple(raw["channels"]),
    }
    return Entry(**known)


def check_name(name: str) -> str:
    """Return the name of an image if a file can bear it.

    Raises:
        BadInput: it is empty, hidden, too long, or holds a slash or a NUL.
    """
    if not name or name.startswith(".") or set(name) & set("/\0\n\r") or len(name.encode()) > 200:
        raise BadInput(
            f"image name {name!r}",
            expected="1 to 200 bytes without a slash, not beginning with a dot",
            found=f"{len(name.encode())} bytes",
        )
    return name


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
            path: a folder with a manifest; or one file or store of such a folder; or any ``.npz``
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
        manifest = folder / MANIFEST
        try:
            raw = json.loads(manifest.read_text())
            if raw["format"] != FORMAT:
                raise BadInput(f"manifest '{manifest}'", expected=FORMAT, found=str(raw["format"]))
            entries = tuple(_entry_from_json(e) for e in raw["entries"])
            return cls(folder, entries, raw["attributes"])
        except FileNotFoundError:
            raise BadInput(
                f"batch '{folder}'", expected=f"a {MANIFEST}", found="none (unfinished or no batch)"
            ) from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BadInput(
                f"manifest '{manifest}'", expected=FORMAT, found=f"{type(error).__name__}: {error}"
            ) from error

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

        Raises:
            BadInput: it lies in none, or the store cannot be reached.
        """
        from cellmill.arrays.zarr import open_zarr

        info = entry.arrays[key]
        if not info.store:
            raise BadInput(
                f"'{key}' of '{entry.name}' in '{self.folder}'",
                expected="a Zarr array",
                found="one in an .npz",
            )
        return open_zarr(self.store_of(info), info.axes, write=write)

    def store_of(self, info: ArrayInfo) -> str:
        """The place of an array in a Zarr store, as any process of this machine sees it."""
        there = "://" in info.store or Path(info.store).is_absolute()
        return info.store if there else str(self.folder.absolute() / info.store)

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
                left.append((int(raw["place"]), _entry_from_json(raw["entry"])))
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
        return str((self.folder / _PARTS / name).absolute())

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
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(
            old,
            arrays=infos,
            mpp=mpp,
            mpp_source=mpp_source,
            channels=tuple(channels),
            attributes={**old.attributes, **(attributes or {})},
        )

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
        old = self._entries.get(name, Entry(name))
        self._entries[name] = replace(
            old,
            arrays=infos,
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
        return f"{store.rstrip('/') or self.folder.absolute()}/{check_name(name)}.zarr"

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


def _files_of(name: str, files: Mapping[str, str]) -> list[str]:
    return [*files.values(), f"{name}.npz", f"{name}.zarr"]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
