"""What a batch's manifest says of one image: an entry, its arrays and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellmill.errors import BadInput

#: The file that makes a folder a batch, and what it says of itself.
MANIFEST = "manifest.json"
FORMAT = "cellmill-batch/1"


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


def entry_from_json(raw: Mapping[str, Any]) -> Entry:
    """Read an entry as `dataclasses.asdict` gave it to JSON."""
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
