"""OME-Zarr 0.5 arrays (Zarr v3, sharded), read and written window by window through TensorStore.

A store `<name>.zarr` is a group with an image group for each array: `<name>.zarr/<key>/0`. On disk
the channel comes first, as OME-Zarr wants it; here arrays are shown in the library's own order.

The arrays that tasks share are recorded: each file that is written is taken down (see
`cellmill.arrays.shard_files`). Of such an array nothing that is missing is read as zeros.
Sources: OME-Zarr 0.5 (ngff.openmicroscopy.org), Zarr core 3 and its sharding codec.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorstore as ts

from cellmill.arrays.groups import read_group, write_group
from cellmill.arrays.indexing import round_up
from cellmill.arrays.ome import STORED_AXES, image_attributes
from cellmill.arrays.shard_files import Place, ShardFiles, places_in
from cellmill.arrays.store import context, key_values, location, refused, remove
from cellmill.compute.memory import GivingBack
from cellmill.errors import BadInput

#: Sides of a shard (the file that one task writes) and of the chunks in it, pixels.
SHARD, CHUNK = 2048, 256
#: Sides along Z, Y and X of the chunks in shards that are cubes: thin ones, as faces are read.
_CUBE_CHUNK = {"Z": 16, "Y": 64, "X": 64}
#: The attribute of a store that names the work that makes it.
_WORK = "cellmill-work"
#: What TensorStore's threads have freed stays with the process until it is given back.
_FREED = GivingBack(64 << 20)
#: The attribute of an array whose files are recorded.
_RECORDED = {"cellmill-shards": "recorded"}

Layout = tuple[tuple[int, ...], np.dtype | type | str, str]
"""Shape, dtype and axes of an array, as they are shown."""


class ZarrArray:
    """One array of a store, windowed; reading and writing are safe from several threads.

    Args:
        view: its axes in the order in which they are shown.
        uri: of the array.
        files: of a recorded array.
        stored: where each axis of the files lies among those that are shown.
    """

    def __init__(
        self,
        view: ts.TensorStore,
        uri: str,
        files: ShardFiles | None = None,
        stored: Sequence[int] = (),
    ) -> None:
        self._view, self._uri, self._files, self._stored = view, uri, files, stored

    @property
    def shape(self) -> tuple[int, ...]:
        """In the order in which it is shown."""
        return tuple(self._view.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

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
            found = np.asarray(self._view[self._within(window)].read(order="C").result())
        except ValueError as error:
            raise refused(self._uri, error) from error
        # A chunk at least was decoded.
        _FREED.passed(found.nbytes + CHUNK**2 * found.itemsize)
        return found

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window.

        Raises:
            BadInput: the store cannot be written.
        """
        within = self._within(window)
        array = np.asarray(values, self.dtype)
        try:
            self._write(within, array)
        except ValueError as error:
            # A shard that was cut off cannot be written over: what is left of it is in the way.
            if not self._files or not self._files.remove_damaged(self._places(within)):
                raise refused(self._uri, error) from error
            try:
                self._write(within, array)
            except ValueError as again:
                raise refused(self._uri, again) from again
        if self._files:
            self._files.record(self._places(within))
        _FREED.passed(array.nbytes)

    def _write(self, within: tuple[slice | int, ...], values: np.ndarray) -> None:
        # The values do not change before the call is back, so that no copy of them is needed.
        self._view[within].write(values, can_reference_source_data_indefinitely=True).result()

    def is_intact(self, window: Any) -> bool:
        """Whether the files of a window are there as they were written, all of them.

        Raises:
            BadInput: the store is out of reach.
        """
        return not self._files or self._files.intact(self._places(self._within(window)))

    def part(self, index: tuple[slice | int, ...]) -> ZarrArray:
        """A part of an array that is read, as an array of its own; nothing is read yet."""
        return ZarrArray(self._view[self._within(index)].translate_to[0], self._uri)

    def _places(self, within: tuple[slice | int, ...]) -> Iterator[Place]:
        """The shards that a window reaches."""
        assert self._files is not None
        shown = [part if isinstance(part, slice) else slice(part, part + 1) for part in within]
        return places_in([shown[axis] for axis in self._stored], self._files.sides)

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
    mpp: tuple[float, ...] | None = None,
    channels: Sequence[str] = (),
    shard: int = SHARD,
    work: str | None = None,
    cubes: bool = False,
) -> dict[str, ZarrArray]:
    """Make the recorded arrays of a store; those that are there already in this form are kept.

    They are to be written whole: what nobody wrote cannot be read as part of the finished array.

    Args:
        uri: of the store, a path or a URI that ends in `.zarr`.
        layout: shape, dtype and axes by key.
        mpp: pixel size (y, x), or (z, y, x), in microns, None where unknown.
        channels: names of the channels of arrays that have any.
        shard: side of a shard in pixels.
        work: what the arrays are made by (see `cellmill.arrays.resume`): what lies there of other
            work, or of work without a name, is removed first. None: whatever is there is kept.
        cubes: whether shards of volumes are as deep as wide; if not they are planes.

    Raises:
        BadInput: there is another array of that name, or the place cannot be written.
    """
    if work is not None and not (work and work_of(uri) == work and _can_be_opened(uri, layout)):
        # Its name first: what a kill leaves of a removed store is nobody's work.
        if work_of(uri):
            write_group(uri, {})
        remove(uri)
    arrays = {}
    for key, (shape, dtype, axes) in layout.items():
        image = f"{uri.rstrip('/')}/{key}"
        layer = (shape, dtype, axes)
        arrays[key] = create_array(f"{image}/0", layer, shard=shard, recorded=True, cubes=cubes)
        count = int(shape[axes.index("C")]) if "C" in axes else 0
        names = channels if len(channels) == count else ()
        about = image_attributes(key, axes, [1], mpp=mpp, channels=names, dtype=dtype)
        write_group(image, about)
    # Last: a store without it was not begun properly.
    write_group(uri, {_WORK: work} if work else {})
    return arrays


def work_of(uri: str) -> str:
    """The fingerprint of the work that made a store; empty where it has no name."""
    with contextlib.suppress(BadInput):
        return str(read_group(uri).get(_WORK, ""))
    return ""


def _can_be_opened(uri: str, layout: Mapping[str, Layout]) -> bool:
    """Whether the arrays of a store that are there have metadata that can be read."""
    for key in layout:
        place = f"{uri.rstrip('/')}/{key}/0"
        if key_values(place).read("zarr.json").result().state == "missing":
            continue
        try:
            open_zarr(place, layout[key][2], write=True)
        except BadInput:
            return False
    return True


def create_array(
    uri: str,
    layout: Layout,
    *,
    shard: int = SHARD,
    recorded: bool = False,
    cubes: bool = False,
) -> ZarrArray:
    """Make one array, zero-filled; one that is there already in this form is kept.

    Args:
        uri: of the array.
        layout: its shape, dtype and axes.
        shard: side of a shard in pixels.
        recorded: whether the files that are written are recorded.
        cubes: whether shards of volumes are as deep as wide; if not they are planes.

    Raises:
        BadInput: there is another array, or the place cannot be written.
    """
    shape, dtype, axes = tuple(int(n) for n in layout[0]), np.dtype(layout[1]), layout[2]
    stored = STORED_AXES[axes]
    sides = [shape[axes.index(axis)] for axis in stored]
    inner = _CUBE_CHUNK if cubes else {"Y": CHUNK, "X": CHUNK}
    outer = [
        min(shard, round_up(n, inner[a])) if a in inner else 1
        for a, n in zip(stored, sides, strict=True)
    ]
    chunk = [inner.get(a, 1) for a in stored]
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
        "attributes": _RECORDED if recorded else {},
    }
    spec = {"driver": "zarr3", "kvstore": location(uri), "metadata": metadata}
    return _opened({**spec, "create": True, "open": True}, uri, axes, write=True)


def open_zarr(uri: str, axes: str, *, write: bool = False) -> ZarrArray:
    """Open one array of a store.

    Args:
        uri: of the array, such as `slide.zarr/image/0`.
        axes: in which order it is shown: `YX`, `YXC`, `ZYX` or `ZYXC`.
        write: whether it is to be written. A recorded array that is read only must be whole.

    Raises:
        BadInput: there is none, it has other axes, or the place cannot be reached; or of a
            recorded array that is read only a shard is missing or is not as it was written.
    """
    spec = {"driver": "zarr3", "kvstore": location(uri)}
    return _opened({**spec, "open": True}, uri, axes, write=write)


def open_stored(uri: str) -> ZarrArray:
    """Open one array of a store for reading, of Zarr v3 or Zarr 2, its axes as they lie on disk.

    Raises:
        BadInput: there is none, or the place cannot be reached.
    """
    try:
        is_old = key_values(uri).read(".zarray").result().state == "value"
    except ValueError as error:
        raise refused(uri, error) from error
    driver = "zarr" if is_old else "zarr3"
    return _opened({"driver": driver, "kvstore": location(uri), "open": True}, uri, "", write=False)


def _opened(spec: Mapping[str, Any], uri: str, axes: str, *, write: bool) -> ZarrArray:
    files = None
    try:
        options: dict[str, Any] = {"context": context(), "read": True, "write": write}
        array = ts.open(dict(spec), **options).result()
        about = array.spec().to_json()["metadata"].get("attributes", {})
        if about.items() >= _RECORDED.items():
            # What is written is stored, zeros too; then what is not stored was never written.
            strict = {"store_data_equal_to_fill_value": True, "fill_missing_data_reads": write}
            array = ts.open({**spec, **strict}, **options).result()
            sides = [int(side or 1) for side in array.chunk_layout.write_chunk.shape or ()]
            files = ShardFiles(uri, array.shape, sides)
    except ValueError as error:
        raise refused(uri, error) from error
    if files and not write:
        files.check_whole()
    if not axes:
        return ZarrArray(array, uri)
    stored = STORED_AXES[axes]
    if array.rank != len(stored):
        raise BadInput(f"array '{uri}'", expected=f"axes {axes}", found=f"shape {array.shape}")
    view = array.transpose([stored.index(axis) for axis in axes])
    return ZarrArray(view, uri, files, [axes.index(axis) for axis in stored])
