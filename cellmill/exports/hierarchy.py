"""Groups and arrays of a file as values, written as HDF5 or as Zarr v3.

Source: HDF5 through h5py; Zarr core 3, with the extension `string` and its codec `vlen-utf8`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np

from cellmill import extras

#: Rows of a chunk.
_ROWS = 1 << 16


@dataclass(frozen=True)
class Array:
    """An array with attributes.

    Attributes:
        values: numbers, booleans, or texts as objects; of any shape.
        attributes: texts, numbers and lists of texts by name.
    """

    values: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A group with attributes and members by name."""

    members: Mapping[str, Array | Group] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


def write_hdf5(file: IO[bytes], root: Group) -> None:
    """Write a group as an HDF5 file; the same values give the same bytes.

    Args:
        file: a binary file, open for writing, reading and seeking.
        root: what it holds.

    Raises:
        BadInput: h5py is not installed.
    """
    h5py = extras.load("h5py", "AnnData")
    text = h5py.string_dtype()

    def fill(place: Any, group: Group) -> None:
        for name, value in group.attributes.items():
            listed = isinstance(value, list | tuple)
            place.attrs.create(name, np.array(value, text if value else None) if listed else value)
        for name, member in group.members.items():
            if isinstance(member, Group):
                fill(place.create_group(name), member)
                continue
            values = member.values
            dtype = text if values.dtype == object else values.dtype
            squeeze = {"compression": "gzip", "shuffle": True} if values.size > 1024 else {}
            made = place.create_dataset(
                name, data=values, dtype=dtype, **({} if values.dtype == object else squeeze)
            )
            for key, value in member.attributes.items():
                made.attrs[key] = value

    with h5py.File(file, "w") as opened:
        fill(opened, root)


def write_zarr(folder: Path, root: Group) -> None:
    """Write a group as a folder of Zarr v3; the same values give the same bytes.

    Args:
        folder: the group's; it is made if it is not there.
        root: what it holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": dict(root.attributes),
    }
    (folder / "zarr.json").write_text(json.dumps(document, indent=1))
    for name, member in root.members.items():
        if isinstance(member, Group):
            write_zarr(folder / name, member)
        else:
            _write_zarr_array(folder / name, member)


def _write_zarr_array(folder: Path, array: Array) -> None:
    values = array.values
    texts = values.dtype == object
    # Chunks are whole, the last one filled up, as the specification wants it.
    chunk = [max(1, min(n, _ROWS) if axis == 0 else n) for axis, n in enumerate(values.shape)]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    squeeze = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": "string" if texts else values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "" if texts else False if values.dtype == bool else 0,
        "codecs": [{"name": "vlen-utf8"} if texts else little, squeeze],
        "attributes": dict(array.attributes),
    }
    folder.mkdir()
    (folder / "zarr.json").write_text(json.dumps(document, indent=1))
    counts = [math.ceil(n / size) for n, size in zip(values.shape, chunk, strict=True)]
    for place in itertools.product(*map(range, counts)):
        window = tuple(
            slice(k * size, (k + 1) * size) for k, size in zip(place, chunk, strict=True)
        )
        part = np.array(values[window], values.dtype)
        full = np.full(chunk, "" if texts else 0, values.dtype)
        full[tuple(slice(0, n) for n in part.shape)] = part
        plain = _texts(full) if texts else full.astype(full.dtype.newbyteorder("<")).tobytes()
        path = folder.joinpath("c", *map(str, place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.zstd_encode(plain, level=3))


def _texts(values: np.ndarray) -> bytes:
    """Texts one behind the other: how many, then of each its length and its bytes."""
    parts = [values.size.to_bytes(4, "little")]
    for text in values.ravel():
        encoded = str(text).encode()
        parts += [len(encoded).to_bytes(4, "little"), encoded]
    return b"".join(parts)
