"""What a batch's manifest says of one image: an entry, its arrays and its files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cellmill.arrays.resume import fingerprint
from cellmill.errors import BadInput
from cellmill.typed_json import WrongField, from_json, require

#: The file that makes a folder a batch, and what it says of itself.
MANIFEST = "manifest.json"
FORMAT = "cellmill-batch/1"
#: Folders and URIs, one a line, below which the arrays of a batch may lie when they are not in its
#: own folder. A launcher sets it for the stages of a run; without it any place will do.
STORES_VARIABLE = "CELLMILL_STORES"

_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_REQUIRED = object()
#: Names that no image may have: files of an image begin with its name, and one is the manifest.
RESERVED = ("manifest",)


Container = Literal["npz", "zarr"]
"""What an array is kept in: a member of the entry's `.npz`, or a Zarr store."""


@dataclass(frozen=True)
class ArrayInfo:
    """Shape, dtype and named axes of an array, and where it lies.

    Attributes:
        shape: in the order of `axes`.
        dtype: its name.
        axes: a letter each.
        crc32: of its `.npy` member; for an array in a Zarr store a number that differs where the
            array was made otherwise.
        store: the Zarr array, a path relative to the batch or a URI; empty: the entry's `.npz`.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: str
    crc32: int = 0
    store: str = ""

    @property
    def container(self) -> Container:
        """What holds the array."""
        return "zarr" if self.store else "npz"

    def __post_init__(self) -> None:
        lengths = all(0 <= length < 1 << 48 for length in self.shape)
        require(lengths, "shape", "lengths of 0 or more", f"{self.shape}")
        require(bool(_DTYPE.fullmatch(self.dtype)), "dtype", "a number's", repr(self.dtype))
        letters = len(set(self.axes)) == len(self.axes) == len(self.shape) or "?" in self.axes
        require(letters, "axes", f"{len(self.shape)} letters", repr(self.axes))
        parts = self.store.split("/")
        require(".." not in parts and "\0" not in self.store, "store", "no '..'", repr(self.store))

    @property
    def elsewhere(self) -> bool:
        """Whether the array lies in a store outside of its batch."""
        return "://" in self.store or Path(self.store).is_absolute()

    @property
    def content(self) -> str:
        """What tells its values from others: its store, which is named after them, or a sum."""
        return self.store if self.elsewhere else f"{self.crc32 or fingerprint()}"

    def store_in(self, folder: Path) -> str:
        """The place of the array's store as any process of this machine sees it.

        Args:
            folder: the batch's.

        Raises:
            BadInput: it lies neither in the batch nor below one of `CELLMILL_STORES`.
        """
        if not self.elsewhere:
            return str(folder.absolute() / self.store)
        allowed = os.environ.get(STORES_VARIABLE, "").splitlines()
        if allowed and not any(self.store.startswith(root.rstrip("/") + "/") for root in allowed):
            raise BadInput(
                f"store '{self.store}' of a batch in '{folder}'",
                expected=f"one in the batch or below {' or '.join(allowed)}",
                found="a place elsewhere",
            )
        return self.store


@dataclass(frozen=True)
class Entry:
    """One image of a batch.

    Attributes:
        name: its name, unique in the batch; file names begin with it.
        status: `"ok"` or `"skipped"`.
        error: the one line that says why it was skipped, else empty.
        arrays: what its `.npz` holds, by key.
        files: other files, by suffix (`"csv"`), relative to the batch.
        mpp: pixel size in microns, (y, x), or (z, y, x) of a volume; None where one is unknown.
        mpp_source: where the pixel size came from.
        channels: channel names along C.
        attributes: JSON values that travel with the image.
    """

    name: str
    status: Literal["ok", "skipped"] = "ok"
    error: str = ""
    arrays: Mapping[str, ArrayInfo] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    mpp: tuple[float, ...] | None = None
    mpp_source: str = "unknown"
    channels: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
            for key, filename in self.files.items():
                check_name(filename)
                check_name(key)
        except BadInput as bad:
            raise WrongField("name", bad.expected, f"{bad.what}: {bad.found}") from None
        positive = self.mpp is None or (len(self.mpp) in (2, 3) and min(self.mpp) > 0)
        require(positive, "mpp", "two or three microns per pixel above 0", f"{self.mpp}")

    @property
    def ok(self) -> bool:
        """Whether the image got here whole."""
        return self.status == "ok"

    def attribute(self, name: str, kind: Any, default: Any = _REQUIRED) -> Any:
        """One of the JSON values that travel with the image, checked.

        Args:
            name: of the attribute.
            kind: what it must be, as `typed_json.from_json` takes it.
            default: where there is none.

        Raises:
            BadInput: it is missing without a default, or of another kind.
        """
        if self.attributes.get(name) is None and default is not _REQUIRED:
            return default
        try:
            return from_json(kind, self.attributes.get(name), f"attributes.{name}")
        except WrongField as wrong:
            raise BadInput(
                f"image '{self.name}', {wrong.place} in its manifest",
                expected=wrong.expected,
                found=wrong.found,
            ) from None


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        format: `cellmill-batch/1`.
        entries: the images, in order, of different names.
        attributes: JSON values about the batch as a whole.
    """

    format: str
    entries: tuple[Entry, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.format == FORMAT, "format", FORMAT, repr(self.format))
        names = [entry.name for entry in self.entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, "entries", "different names", f"{twice[:5]} twice")


def check_name(name: str) -> str:
    """Return the name of an image if a file can bear it.

    Raises:
        BadInput: it is empty, hidden, too long, reserved, or holds a slash or a NUL.
    """
    if name.casefold() in RESERVED:
        raise BadInput(
            f"image name '{name}'", expected="another", found="the name of a batch's own file"
        )
    if not name or name.startswith(".") or set(name) & set("/\0\n\r") or len(name.encode()) > 200:
        raise BadInput(
            f"image name {name!r}",
            expected="1 to 200 bytes without a slash, not beginning with a dot",
            found=f"{len(name.encode())} bytes",
        )
    return name
