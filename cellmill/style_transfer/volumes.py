"""Volumes of electron microscopy by URI, seen as `(Z, Y, X)` uint8 and read by windows.

| URI | what |
|---|---|
| `precomputed://PLACE`, or a place with `info` | Neuroglancer precomputed, sharded or not |
| `zarr://PLACE`, `zarr3://PLACE`, or a place with its metadata | Zarr 3, Zarr 2, OME-Zarr |
| `n5://PLACE`, or a place with `attributes.json` | N5 |
| `dvid://http://HOST/UUID/INSTANCE` | grey values of a DVID server |
| `stack.tif`, or a folder of TIFFs | a stack: a file's pages, or a file a section |

A place is a path, `file://`, `gs://`, `s3://` or `http(s)://`. Of what is read no more is kept than
a pool of a size that is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts

from cellmill.arrays.ome import read_image
from cellmill.arrays.store import context, key_values, location, refused
from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.io.uris import local_path
from cellmill.style_transfer.dvid import DvidArray
from cellmill.style_transfer.places import form_of
from cellmill.style_transfer.tiff_stack import TIFF_SUFFIXES, TiffStack, sections_in

CACHE_MIB = 256
"""What is kept of a volume, at least a slab of its chunks for crops that overlap."""

_DRIVERS = {
    "precomputed": "neuroglancer_precomputed",
    "zarr3": "zarr3",
    "zarr": "zarr",
    "n5": "n5",
}
#: The file of a place by which its form is known, in the order in which they are looked for.
_SIGNS = {"info": "precomputed", "zarr.json": "zarr3", ".zarray": "zarr", "attributes.json": "n5"}

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Volume:
    """A volume of grey values, read by windows; reading is safe from several threads.

    Args:
        name: as messages call it.
        source: `(Z, Y, X)` of any dtype.
        origin: where its first voxel lies in the coordinates of its makers, voxels (z, y, x).
        voxel_nm: size of a voxel (z, y, x) in nm; None if unknown.
        levels: what becomes 0 and what becomes 255; None: the values are uint8 as they are.
        form: what it is stored as: `precomputed`, `zarr`, `zarr3`, `n5`, `dvid` or `tiff`; empty
            of an array.

    Raises:
        BadInput: it has other axes, or other values than uint8 and no levels.
    """

    name: str
    source: Windowed
    origin: Triple = (0, 0, 0)
    voxel_nm: tuple[float, float, float] | None = None
    levels: tuple[float, float] | None = None
    form: str = ""

    def __post_init__(self) -> None:
        label = f"volume '{self.name}'"
        if len(self.source.shape) != 3 or not min(self.source.shape):
            raise BadInput(label, expected="axes Z, Y, X", found=f"shape {self.source.shape}")
        if self.levels is None and self.source.dtype != np.uint8:
            raise BadInput(
                label,
                expected="uint8 (or levels: what is black and what is white)",
                found=f"{self.source.dtype}",
            )
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise BadInput("levels", expected="black below white", found=f"{self.levels}")

    @property
    def shape(self) -> Triple:
        """`(Z, Y, X)`."""
        z, y, x = self.source.shape
        return int(z), int(y), int(x)

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window as uint8.

        Raises:
            BadInput: it lies outside, or cannot be read.
        """
        found = np.ascontiguousarray(self.source[slices_within(window, self.shape)])
        if self.levels is None:
            return found
        low, high = self.levels
        grey = (found.astype(np.float32) - low) * (255 / (high - low))
        return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)


def open_volume(
    uri: str | Windowed,
    *,
    levels: tuple[float, float] | None = None,
    scale: int = 0,
    cache_mib: int = CACHE_MIB,
    name: str = "",
) -> Volume:
    """Open a volume; nothing but its description is read.

    Args:
        uri: as this module's table says; or an array `(Z, Y, X)` itself.
        levels: what becomes 0 and what becomes 255, for volumes that are not uint8.
        scale: of several resolutions which, 0 is the finest. A scale of DVID is an instance.
        cache_mib: kept at most of what was read.
        name: what messages call it; its URI if empty.

    Raises:
        BadInput: there is none, it cannot be reached, or it is no volume of one channel.
    """
    if not isinstance(uri, str):
        return Volume(name or "array", uri, levels=levels)
    kind, place = _kind_of(uri)
    array: Windowed
    origin, voxel_nm = (0, 0, 0), None
    if kind == "dvid":
        array = dvid = DvidArray(place)
        origin, voxel_nm = dvid.origin, dvid.voxel_nm
    elif kind == "tiff":
        array = TiffStack(uri, sections_in(uri), cache_bytes=cache_mib << 20)
    else:
        array, origin, voxel_nm = _opened(kind, place, scale, cache_mib << 20)
    return Volume(name or uri, array, origin, voxel_nm, levels, kind)


def levels_of(black: float, white: float) -> tuple[float, float] | None:
    """Levels as stages are given them: two zeros for a volume that is uint8 as it is."""
    return (black, white) if (black, white) != (0.0, 0.0) else None


def _kind_of(uri: str) -> tuple[str, str]:
    """The form of a volume and its place."""
    form, place = form_of(uri)
    if form:
        return form, place
    if uri.startswith("dvid://"):
        return "dvid", uri.removeprefix("dvid://")
    path = local_path(uri)
    if uri.lower().endswith(TIFF_SUFFIXES) or (path is not None and sections_in(uri)):
        return "tiff", uri
    if path is not None and not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        raise BadInput(f"volume '{uri}'", expected="a volume", found=found)
    store = key_values(uri)
    try:
        for sign, form in _SIGNS.items():
            if store.read(sign).result().state == "value":
                return form, uri
        if store.read(".zgroup").result().state == "value":
            return "zarr", uri
    except ValueError as error:
        raise refused(uri, error) from error
    if path is None and sections_in(uri):
        return "tiff", uri
    raise BadInput(
        f"volume '{uri}'",
        expected=f"one of {', '.join(_SIGNS)}, or TIFFs",
        found="none of them",
    )


class StoredVolume:
    """A view `(Z, Y, X)` of an array of TensorStore; reading and writing are safe from threads.

    Args:
        view: of the array, its first voxel at 0, 0, 0.
        uri: of the volume.
    """

    def __init__(self, view: ts.TensorStore, uri: str) -> None:
        self._view, self._uri = view, uri

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the view."""
        return tuple(self._view.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        return np.dtype(self._view.dtype.numpy_dtype)

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window.

        Raises:
            BadInput: it is not within the volume, or cannot be read.
        """
        try:
            return np.asarray(self._view[window].read(order="C").result())
        except (ValueError, IndexError) as error:
            raise refused(self._uri, error) from error

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window.

        Raises:
            BadInput: it is not within the volume, or cannot be written.
        """
        try:
            self._view[window].write(np.asarray(values, self.dtype)).result()
        except (ValueError, IndexError) as error:
            raise refused(self._uri, error) from error


def slices_within(window: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A window as slices of all axes, each within the array.

    Raises:
        BadInput: it lies outside, or is made of something else than slices of step 1.
    """
    parts = list(window) if isinstance(window, tuple) else [window]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    found = []
    if len(parts) != len(shape) or not all(isinstance(part, slice) for part in parts):
        raise BadInput("window", expected=f"slices of {len(shape)} axes", found=f"{window!r}")
    for part, side in zip(parts, shape, strict=True):
        start = part.start if part.start is not None else 0
        stop = part.stop if part.stop is not None else side
        if part.step not in (None, 1) or not 0 <= start <= stop <= side:
            raise BadInput("window", expected=f"within {shape}", found=f"{start} to {stop}")
        found.append(slice(start, stop))
    return tuple(found)


def _opened(
    kind: str, place: str, scale: int, cache_bytes: int
) -> tuple[Windowed, Triple, tuple[float, float, float] | None]:
    level = _level_of(kind, place, scale)
    spec = {
        "driver": _DRIVERS[level.kind],
        "kvstore": location(level.place),
        "open": True,
        # A server is not asked again whether a chunk that is kept has changed.
        "recheck_cached_data": "open",
        "recheck_cached_metadata": "open",
    }
    if kind == "precomputed":
        spec["scale_index"] = scale
    try:
        array = ts.open(spec, context=context(cache_bytes), read=True).result()
    except ValueError as error:
        raise refused(place, error) from error
    voxel_nm, origin = level.voxel_nm, level.origin
    if kind == "precomputed":
        if array.shape[-1] != 1:
            raise BadInput(f"volume '{place}'", expected="1 channel", found=f"{array.shape[-1]}")
        array = array[..., 0].transpose([2, 1, 0])
        voxel_nm = _resolution(place, scale)
        z, y, x = (int(o) for o in array.domain.origin)
        origin = (z, y, x)
    elif kind == "n5":
        array = array.transpose(list(range(array.rank))[::-1])
    while array.rank > 3 and array.shape[0] == 1:
        array = array[int(array.domain.origin[0])]
    return StoredVolume(array.translate_to[(0,) * array.rank], place), origin, voxel_nm


@dataclass(frozen=True)
class _Level:
    """A resolution: its form, the place of its array, its voxels' size, its first voxel."""

    kind: str
    place: str
    voxel_nm: tuple[float, float, float] | None = None
    origin: Triple = (0, 0, 0)


def _level_of(kind: str, place: str, scale: int) -> _Level:
    """The array of a resolution, of a group with several that one.

    Whether it is Zarr 2 or 3 the place says: Neuroglancer, and others, write `zarr://` for both.
    """
    if kind not in ("zarr", "zarr3"):
        return _Level(kind, place)
    store = key_values(place)
    try:
        described = store.read("zarr.json").result()
        kind = "zarr3" if described.state == "value" else "zarr"
        if kind == "zarr":
            is_array = store.read(".zarray").result().state == "value"
        else:
            is_array = json.loads(described.value)["node_type"] == "array"
    except (ValueError, KeyError, TypeError) as error:
        raise refused(place, error) from error
    if is_array:
        return _Level(kind, place)
    levels = read_image(place).levels
    if not 0 <= scale < len(levels):
        raise BadInput("scale", expected=f"0 to {len(levels) - 1}", found=f"{scale}")
    level = levels[scale]
    z, y, x = (0, 0, 0, *level.origin)[-3:]
    if level.mpp is None or level.z_step is None:
        return _Level(kind, level.uri, None, (z, y, x))
    sizes = (level.z_step * 1e3, level.mpp[0] * 1e3, level.mpp[1] * 1e3)
    return _Level(kind, level.uri, sizes, (z, y, x))


def _resolution(place: str, scale: int) -> tuple[float, float, float]:
    x, y, z = json.loads(key_values(place).read("info").result().value)["scales"][scale][
        "resolution"
    ]
    return float(z), float(y), float(x)
