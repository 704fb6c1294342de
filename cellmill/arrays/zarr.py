"""OME-Zarr 0.5 arrays (Zarr v3, sharded), read and written window by window through TensorStore.

A store `<name>.zarr` is a group with an image group for each array: `<name>.zarr/<key>/0`. On disk
the channel comes first, as OME-Zarr wants it; here arrays are shown in the library's own order.
Sources: OME-Zarr 0.5 (ngff.openmicroscopy.org), Zarr core 3 and its sharding codec.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorstore as ts

from cellmill.arrays.store import context, key_values, location, refused, remove
from cellmill.errors import BadInput

#: Sides of a shard (the file that one task writes) and of the chunks in it, pixels.
SHARD, CHUNK = 2048, 256
_OME = "0.5"
#: The attribute of a store that names the work that makes it.
_WORK = "cellmill-work"
_COLOURS = ("0000FF", "00FF00", "FF0000", "00FFFF", "FF00FF", "FFFF00", "FFFFFF")
_AXES = {"C": "channel", "Z": "space", "Y": "space", "X": "space", "T": "time"}
#: Axes as they lie on disk, by how they are shown.
_STORED = {"YX": "YX", "YXC": "CYX", "ZYX": "ZYX", "ZYXC": "CZYX"}

Layout = tuple[tuple[int, ...], np.dtype | type | str, str]
"""Shape, dtype and axes of an array, as they are shown."""


class ZarrArray:
    """One array of a store, windowed; reading and writing are safe from several threads."""

    def __init__(self, view: ts.TensorStore, uri: str) -> None:
        self._view, self._uri = view, uri

    @property
    def shape(self) -> tuple[int, ...]:
        """In the order in which it is shown."""
        return tuple(self._view.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return np.dtype(self._view.dtype.numpy_dtype)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window.

        Raises:
            BadInput: the store is damaged or out of reach.
        """
        try:
            return np.asarray(self._view[self._within(window)].read(order="C").result())
        except ValueError as error:
            raise refused(self._uri, error) from error

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window.

        Raises:
            BadInput: the store cannot be written.
        """
        try:
            view = self._view[self._within(window)]
            # The values do not change before the call is back, so that no copy of them is needed.
            view.write(
                np.asarray(values, self.dtype), can_reference_source_data_indefinitely=True
            ).result()
        except ValueError as error:
            raise refused(self._uri, error) from error

    def part(self, index: tuple[slice | int, ...]) -> ZarrArray:
        """A part of the array as an array of its own; nothing is read."""
        return ZarrArray(self._view[self._within(index)].translate_to[0], self._uri)

    def __array__(
        self, dtype: np.dtype | type | None = None, copy: bool | None = None
    ) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def _within(self, window: Any) -> tuple[slice | int, ...]:
        """A window in numpy's sense as TensorStore takes it: no negative or open ends."""
        parts = list(window) if isinstance(window, tuple) else [window]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        found: list[slice | int] = []
        for part, side in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                start, stop, step = part.indices(side)
                if step != 1:
                    raise IndexError(f"step {step}: windows have a step of 1")
                found.append(slice(start, max(start, stop)))
            else:
                found.append(range(side)[part])
        return tuple(found)


def create_zarr(
    uri: str,
    layout: Mapping[str, Layout],
    *,
    mpp: tuple[float, float] | None = None,
    channels: Sequence[str] = (),
    shard: int = SHARD,
    work: str | None = None,
) -> dict[str, ZarrArray]:
    """Make the arrays of a store, zero-filled; those that are there already in this form are kept.

    Args:
        uri: of the store, a path or a URI that ends in `.zarr`.
        layout: shape, dtype and axes by key.
        mpp: pixel size (y, x) in microns, None where unknown.
        channels: names of the channels of arrays that have any.
        shard: side of a shard in pixels.
        work: what the arrays are made by (see ``cellmill.arrays.resume``): what lies there of other
            work, or of work without a name, is removed first. None: whatever is there is kept.

    Raises:
        BadInput: there is another array of that name, or the place cannot be written.
    """
    if work is not None and not (work and _work_of(uri) == work):
        # Its name first: what a kill leaves of a removed store is nobody's work.
        if _work_of(uri):
            write_group(uri, {})
        remove(uri)
    arrays = {}
    for key, (shape, dtype, axes) in layout.items():
        image = f"{uri.rstrip('/')}/{key}"
        arrays[key] = create_array(f"{image}/0", (shape, dtype, axes), shard=shard)
        count = int(shape[axes.index("C")]) if "C" in axes else 0
        names = channels if len(channels) == count else ()
        about = image_attributes(key, axes, [1], mpp=mpp, channels=names, dtype=dtype)
        write_group(image, about)
    # Last: a store without it was not begun properly.
    write_group(uri, {_WORK: work} if work else {})
    return arrays


def _work_of(uri: str) -> str:
    with contextlib.suppress(BadInput):
        return str(read_group(uri).get(_WORK, ""))
    return ""


def create_array(uri: str, layout: Layout, *, shard: int = SHARD) -> ZarrArray:
    """Make one array, zero-filled; one that is there already in this form is kept.

    Raises:
        BadInput: there is another array, or the place cannot be written.
    """
    shape, dtype, axes = tuple(int(n) for n in layout[0]), np.dtype(layout[1]), layout[2]
    stored = _STORED[axes]
    sides = [shape[axes.index(axis)] for axis in stored]
    outer = [
        min(shard, -(-n // CHUNK) * CHUNK) if a in "YX" else 1
        for a, n in zip(stored, sides, strict=True)
    ]
    chunk = [CHUNK if a in "YX" else 1 for a in stored]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    # Measured on two cores: lz4 reads and writes 16-bit images and float maps at twice zstd's
    # speed, for a fifth more bytes; labels become three times smaller with zstd.
    labels = dtype.kind in "iu" and dtype.itemsize >= 4
    squeeze = {
        "name": "blosc",
        "configuration": {
            "cname": "zstd" if labels else "lz4",
            "clevel": 1 if labels else 5,
            "shuffle": "shuffle" if dtype.itemsize > 1 else "noshuffle",
            "typesize": dtype.itemsize,
            "blocksize": 0,
        },
    }
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": chunk,
            # Of damaged bytes lz4 makes other pixels without a word; the checksum does not.
            "codecs": [little, squeeze, {"name": "crc32c"}],
            "index_codecs": [little, {"name": "crc32c"}],
        },
    }
    metadata = {
        "shape": sides,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
        "codecs": [sharding],
        "fill_value": False if dtype.kind == "b" else 0,
        "dimension_names": [axis.lower() for axis in stored],
    }
    spec = {"driver": "zarr3", "kvstore": location(uri), "metadata": metadata}
    return _opened({**spec, "create": True, "open": True}, uri, axes, write=True)


def open_zarr(uri: str, axes: str, *, write: bool = False) -> ZarrArray:
    """Open one array of a store.

    Args:
        uri: of the array, such as `slide.zarr/image/0`.
        axes: in which order it is shown: `YX`, `YXC`, `ZYX` or `ZYXC`.
        write: whether it is to be written.

    Raises:
        BadInput: there is none, it has other axes, or the place cannot be reached.
    """
    spec = {"driver": "zarr3", "kvstore": location(uri)}
    return _opened({**spec, "open": True}, uri, axes, write=write)


def open_stored(uri: str) -> ZarrArray:
    """Open one array of a store for reading, its axes as they lie on disk.

    Raises:
        BadInput: there is none, or the place cannot be reached.
    """
    return _opened(
        {"driver": "zarr3", "kvstore": location(uri), "open": True}, uri, "", write=False
    )


def image_attributes(
    name: str,
    axes: str,
    factors: Sequence[int],
    *,
    mpp: tuple[float, float] | None = None,
    channels: Sequence[str] = (),
    dtype: np.dtype | type | str = "uint16",
    label: bool = False,
) -> dict[str, Any]:
    """The OME metadata of an image group: one level for each factor, `0`, `1`, ….

    Args:
        name: of the image.
        axes: as they are shown.
        factors: how many times smaller each level is than the first.
        mpp: pixel size (y, x) of the first level in microns; None leaves the unit out.
        channels: names.
        dtype: of the pixels, whose range is shown at first.
        label: whether it is a label image, one of those that a group `labels` names.
    """
    stored = _STORED[axes]
    about: list[dict[str, str]] = []
    for axis in stored:
        about.append({"name": axis.lower(), "type": _AXES[axis]})
        if mpp and axis in "YX":
            about[-1]["unit"] = "micrometer"
    sizes = dict(zip("YX", mpp or (1.0, 1.0), strict=True))

    def scale(factor: int) -> list[float]:
        return [sizes[a] * factor if a in sizes else 1.0 for a in stored]

    def shift(factor: int) -> list[float]:
        # A pixel that stands for several has its centre in their middle.
        return [sizes[a] * (factor - 1) / 2 if a in sizes else 0.0 for a in stored]

    levels = []
    for number, factor in enumerate(factors):
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": scale(factor)}]
        if factor > 1:
            moves.append({"type": "translation", "translation": shift(factor)})
        levels.append({"path": f"{number}", "coordinateTransformations": moves})
    ome: dict[str, Any] = {
        "version": _OME,
        "multiscales": [{"name": name, "axes": about, "datasets": levels}],
    }
    if channels and "C" in axes:
        kind = np.dtype(dtype)
        low, high = (0, int(np.iinfo(kind).max)) if kind.kind in "iu" else (0.0, 1.0)
        window = {"min": low, "max": high, "start": low, "end": high}
        ome["omero"] = {
            "channels": [
                {"label": name, "color": color, "window": window, "active": True}
                for name, color in zip(channels, itertools.cycle(_COLOURS), strict=False)
            ]
        }
    if label:
        ome["image-label"] = {}
    return {"ome": ome}


def write_group(uri: str, attributes: Mapping[str, Any]) -> None:
    """Write a group's metadata.

    Raises:
        BadInput: the place cannot be written.
    """
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    try:
        key_values(uri).write("zarr.json", json.dumps(document, indent=1).encode()).result()
    except ValueError as error:
        raise refused(uri, error) from error


def read_group(uri: str) -> dict[str, Any]:
    """Read a group's attributes.

    Raises:
        BadInput: there is no group.
    """
    try:
        found = key_values(uri).read("zarr.json").result()
    except ValueError as error:
        raise refused(uri, error) from error
    try:
        document = json.loads(found.value)
        if document["zarr_format"] != 3 or document["node_type"] != "group":
            raise ValueError("not a group of Zarr v3")
        return dict(document.get("attributes", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"store '{uri}'",
            expected="a Zarr v3 group",
            found=f"{error}" if found.value else "none",
        ) from error


def _opened(spec: Mapping[str, Any], uri: str, axes: str, *, write: bool) -> ZarrArray:
    try:
        array = ts.open(dict(spec), context=context(), read=True, write=write).result()
    except ValueError as error:
        raise refused(uri, error) from error
    if not axes:
        return ZarrArray(array, uri)
    stored = _STORED[axes]
    if array.rank != len(stored):
        raise BadInput(f"array '{uri}'", expected=f"axes {axes}", found=f"shape {array.shape}")
    return ZarrArray(array.transpose([stored.index(axis) for axis in axes]), uri)
