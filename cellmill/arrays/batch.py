"""A batch of images on disk: one folder, one entry per image, and a manifest written last.

The folder counts only once ``manifest.json`` is there. An entry is an ``.npz`` with one or more
arrays, or other files (a table, a report), or both, or neither where its image was skipped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from cellmill.arrays import npz
from cellmill.arrays.files import open_staged, write_text
from cellmill.errors import BadInput

MANIFEST = "manifest.json"
FORMAT = "cellmill-batch/1"
_AXES_BY_NDIM = {0: "", 1: "I", 2: "YX", 3: "YXC", 4: "ZYXC"}


@dataclass(frozen=True)
class ArrayInfo:
    """Shape, dtype and named axes of an array, and the CRC-32 of its ``.npy`` member."""

    shape: tuple[int, ...]
    dtype: str
    axes: str
    crc32: int = 0


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
            key: ArrayInfo(tuple(info["shape"]), info["dtype"], info["axes"], info["crc32"])
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
            path: a folder with a manifest; or one file of such a folder; or any ``.npz``.

        Raises:
            BadInput: there is no complete batch at the path.
        """
        path = Path(path)
        if path.is_dir():
            return cls._open_folder(path)
        if not path.exists():
            raise BadInput(f"batch '{path}'", expected="a folder or a file", found="nothing there")
        if (path.parent / MANIFEST).is_file():
            batch = cls._open_folder(path.parent)
            mine = [
                e
                for e in batch.entries
                if path.name in e.files.values() or (e.arrays and path.name == f"{e.name}.npz")
            ]
            if mine:
                return replace(batch, entries=(mine[0],))
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
        """Open one array of an entry as a read-only memory map.

        Raises:
            BadInput: the entry has no such array, or its file is damaged.
        """
        if key not in entry.arrays:
            raise BadInput(
                f"'{entry.name}' in '{self.folder}'",
                expected=f"an array '{key}'",
                found=", ".join(entry.arrays) or "no arrays",
            )
        path = self.folder / f"{entry.name}.npz"
        arrays = npz.read_npz(path)
        info = entry.arrays[key]
        if key not in arrays or arrays[key].shape != tuple(info.shape):
            raise BadInput(
                f"array file '{path}'",
                expected=f"'{key}' of shape {tuple(info.shape)}, as its manifest says",
                found=str(arrays[key].shape) if key in arrays else "none",
            )
        return arrays[key]

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
    complete batch is replaced.
    """

    def __init__(self, folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        self.attributes = dict(attributes or {})
        self._entries: dict[str, Entry] = {}
        self._existed = self.folder.exists()

    def __enter__(self) -> BatchWriter:
        manifest = self.folder / MANIFEST
        if self._existed and not self.folder.is_dir():
            raise BadInput(f"output '{self.folder}'", expected="a folder", found="a file")
        if manifest.exists():
            _remove_batch(self.folder)
        elif self._existed and any(self.folder.iterdir()):
            raise BadInput(
                f"output '{self.folder}'",
                expected="an empty folder, or a batch to replace",
                found="a folder with other files",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"output '{self.folder}'", expected="a place that can be written", found=str(error)
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            for entry in self._entries.values():
                self._remove_files(entry)
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
    ) -> Iterator[dict[str, np.ndarray]]:
        """Create the entry ``name`` with arrays to be filled window by window.

        Args:
            name: the image's name.
            arrays: (shape, dtype, axes) by key; none where there is nothing to say but attributes.
            mpp: pixel size (y, x) in microns, None where unknown.
            mpp_source: where it came from.
            channels: channel names.
            attributes: JSON values that travel with the image; may be added to within the block.

        Yields:
            Writable, zero-filled arrays by key.
        """
        path = self.folder / f"{check_name(name)}.npz"
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
    def open(self, name: str, suffix: str) -> Iterator[IO[bytes]]:
        """Open the file ``<name>.<suffix>`` of an entry for writing (and reading back)."""
        filename = f"{check_name(name)}.{suffix}"
        with open_staged(self.folder / filename) as file:
            yield file
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
        self._entries[entry.name] = Entry(
            entry.name, "skipped", error, attributes=dict(entry.attributes)
        )

    def _remove_files(self, entry: Entry) -> None:
        for filename in (*entry.files.values(), f"{entry.name}.npz"):
            (self.folder / filename).unlink(missing_ok=True)


def _remove_batch(folder: Path) -> None:
    """Remove a complete batch's files, manifest first, so that what is left is no batch."""
    manifest = folder / MANIFEST
    names: list[str] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        for raw in json.loads(manifest.read_text())["entries"]:
            names += [*raw["files"].values(), f"{raw['name']}.npz"]
    manifest.unlink()
    for name in names:
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
