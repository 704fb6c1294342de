"""What an OME-Zarr group says of its image: read, of any making, and written, in version 0.5.

Source: OME-NGFF specifications 0.5 (Zarr v3) and 0.4 (Zarr 2): multiscales, omero, plate, well.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.groups import read_any_group
from cellmill.errors import BadInput

VERSION = "0.5"
#: What is read, by the version of Zarr.
_READ = {3: "0.5", 2: "0.4"}
_EITHER = "0.5 or 0.4"
#: Axes as they lie on disk, by how they are shown.
STORED_AXES = {"YX": "YX", "YXC": "CYX", "ZYX": "ZYX", "ZYXC": "CZYX"}
_KINDS = {"C": "channel", "Z": "space", "Y": "space", "X": "space", "T": "time"}
_COLOURS = ("0000FF", "00FF00", "FF0000", "00FFFF", "FF00FF", "FFFF00", "FFFFFF")
#: Microns in the units that lengths are given in (UDUNITS names, as the specification lists them).
_MICRONS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "inch": 25400.0,
    "meter": 1e6,
}


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Attributes:
        uri: of its array.
        mpp: pixel size (y, x) in microns, None where unknown.
        z_step: microns between focal planes, None where unknown.
        starts: where the centre of its first pixel lies, in pixels of the level, an axis of the
            array each.
        sides: of a pixel of the level, in pixels of the first, an axis of the array each.
    """

    uri: str
    mpp: tuple[float, float] | None
    z_step: float | None = None
    starts: tuple[float, ...] = ()
    sides: tuple[float, ...] = ()

    @property
    def origin(self) -> tuple[int, ...]:
        """Where its first pixel lies on a grid of such pixels from the origin on, an axis each.

        A level's pixel that stands for several has its centre in their middle, as
        `image_attributes` writes it.
        """
        return tuple(
            round(start - (side - 1) / (2 * side))
            for start, side in zip(self.starts, self.sides, strict=True)
        )


@dataclass(frozen=True)
class OmeImage:
    """An image as its group describes it.

    Attributes:
        axes: of its arrays, small letters, in the order they are stored.
        levels: full resolution first.
        channels: their names; none where the group names none.
        remark: what is said of the pixel size and was not understood; else empty.
    """

    axes: str
    levels: tuple[Level, ...]
    channels: tuple[str, ...]
    remark: str = ""


def image_attributes(
    name: str,
    axes: str,
    factors: Sequence[int | Sequence[int]],
    *,
    mpp: tuple[float, ...] | None = None,
    unit: str = "micrometer",
    origins: Sequence[Sequence[int]] = (),
    channels: Sequence[str] = (),
    dtype: np.dtype | type | str = "uint16",
    label: bool = False,
) -> dict[str, Any]:
    """The OME metadata of an image group: one level for each factor, `0`, `1`, ….

    Args:
        name: of the image.
        axes: as they are shown.
        factors: how many times smaller each level is than the first, along Y and X, or an axis
            each.
        mpp: pixel size (y, x), or (z, y, x), of the first level in `unit`; None leaves the unit
            out.
        unit: of `mpp`.
        origins: where the first pixel of each level lies, in its own pixels, an axis each; none is
            0.
        channels: names.
        dtype: of the pixels, whose range is shown at first.
        label: whether it is a label image, one of those that a group `labels` names.
    """
    stored = STORED_AXES[axes]
    sizes = dict(zip("ZYX"[-len(mpp) :], mpp, strict=True)) if mpp else {}
    about: list[dict[str, str]] = []
    for axis in stored:
        about.append({"name": axis.lower(), "type": _KINDS[axis]})
        if axis in sizes:
            about[-1]["unit"] = unit
    levels = []
    for number, factor in enumerate(factors):
        each = [factor if a in "YX" else 1 for a in axes] if isinstance(factor, int) else factor
        steps = dict(zip(axes, each, strict=True))
        starts = dict(zip(axes, origins[number], strict=True)) if origins else {}
        along = [(sizes.get(a, 1.0), steps.get(a, 1), starts.get(a, 0)) for a in stored]
        levels.append({"path": f"{number}", "coordinateTransformations": _moves(along)})
    ome: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [{"name": name, "axes": about, "datasets": levels}],
    }
    if channels and "C" in axes:
        ome["omero"] = {"channels": _shown(channels, np.dtype(dtype))}
    if label:
        ome["image-label"] = {}
    return {"ome": ome}


def _moves(along: Sequence[tuple[float, int, int]]) -> list[dict[str, Any]]:
    """From a level's pixels to places: of each axis pixel size, factor and first pixel."""
    moves: list[dict[str, Any]] = [
        {"type": "scale", "scale": [size * step for size, step, _ in along]}
    ]
    # A pixel that stands for several has its centre in their middle.
    shift = [size * (start * step + (step - 1) / 2) for size, step, start in along]
    if any(shift):
        moves.append({"type": "translation", "translation": shift})
    return moves


def _shown(channels: Sequence[str], dtype: np.dtype) -> list[dict[str, Any]]:
    """Name, colour and range of each channel."""
    low, high = (0, int(np.iinfo(dtype).max)) if dtype.kind in "iu" else (0.0, 1.0)
    window = {"min": low, "max": high, "start": low, "end": high}
    return [
        {"label": name, "color": color, "window": window, "active": True}
        for name, color in zip(channels, itertools.cycle(_COLOURS), strict=False)
    ]


def read_image(uri: str) -> OmeImage:
    """Read what a group says of its image.

    Args:
        uri: of the group; or of a store with one image group in it, as this library makes them,
            or as bioformats2raw does (the group `0`).

    Raises:
        BadInput: it is no OME-Zarr 0.5 or 0.4 image.
    """
    label = f"image '{uri}'"
    found = "no image in it"
    for group in (uri, f"{uri.rstrip('/')}/image", f"{uri.rstrip('/')}/0"):
        try:
            kind, ome, version = _described(group)
        except BadInput as bad:
            found = bad.found if group == uri else found
            continue
        if "plate" in ome:
            found = "a plate: the fields in its wells are images (plate.zarr/A/1/0)"
        if "multiscales" not in ome:
            continue
        if version != _READ[kind]:
            raise BadInput(label, expected=f"OME-Zarr {_EITHER}", found=f"version {version}")
        try:
            return _image(group, ome)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadInput(
                label,
                expected=f"OME-Zarr {version} metadata",
                found=f"{type(error).__name__}: {error}",
            ) from error
    raise BadInput(label, expected=f"an OME-Zarr {_EITHER} image", found=found)


def fields_of_plate(uri: str) -> list[str]:
    """Return the paths within a plate of its images, each field of each well; else none.

    A well that cannot be read stands for its fields, so that whoever opens it says why.
    """
    root = uri.rstrip("/")
    try:
        _, ome, _ = _described(root)
        wells = [_path(well) for well in ome["plate"]["wells"]]
    except (BadInput, KeyError, TypeError, ValueError):
        return []
    found: list[str] = []
    for well in wells:
        try:
            _, ome, _ = _described(f"{root}/{well}")
            found += [f"{well}/{_path(image)}" for image in ome["well"]["images"]]
        except (BadInput, KeyError, TypeError, ValueError):
            found.append(well)
    return found


def _path(given: Mapping[str, Any]) -> str:
    """The path of a well or a field; it leads further down."""
    path = str(given["path"]).strip("/")
    if not path or set(path.split("/")) & {"", ".", ".."}:
        raise ValueError(f"path {path!r}")
    return path


def _described(group: str) -> tuple[int, Mapping[str, Any], str]:
    """Return a group's version of Zarr, what it says as OME-Zarr does, and in which version."""
    kind, attributes = read_any_group(group)
    if kind == 3:
        ome = attributes.get("ome")
        if not isinstance(ome, dict):
            old = attributes if "multiscales" in attributes else {}
            return kind, old, "0.4 or older in Zarr v3"
        return kind, ome, str(ome.get("version"))
    scales = attributes.get("multiscales")
    first = scales[0] if isinstance(scales, list) and scales else {}
    given = first.get("version", _READ[2]) if isinstance(first, dict) else _READ[2]
    return kind, attributes, str(given)


def _image(group: str, ome: Mapping[str, Any]) -> OmeImage:
    scales = ome["multiscales"][0]
    axes = "".join(axis["name"].lower() for axis in scales["axes"])
    if not axes.endswith("yx") or len(axes) != len(scales["axes"]):
        raise ValueError(f"axes {axes}")
    units = {axis["name"].lower(): axis.get("unit", "") for axis in scales["axes"]}
    common = _scale(scales, len(axes))
    given_levels = scales["datasets"]
    if not given_levels:
        raise ValueError("no datasets")
    # A scale of 0 says nothing.
    scale_of = [np.where((s := _scale(each, len(axes))) > 0, s, 1) for each in given_levels]
    whole = np.where(common > 0, common, 1)
    levels = tuple(
        Level(
            f"{group.rstrip('/')}/{each['path']}",
            _mpp(axes, units, common * _scale(each, len(axes))),
            _z_step(axes, units, common * _scale(each, len(axes))),
            _numbers((_shift(each, len(axes)) + _shift(scales, len(axes)) / whole) / own),
            _numbers(own / scale_of[0]),
        )
        for each, own in zip(given_levels, scale_of, strict=True)
    )
    given = (ome.get("omero") or {}).get("channels") or ()
    channels = tuple(str(channel.get("label", i)) for i, channel in enumerate(given))
    return OmeImage(axes, levels, channels, _not_understood(axes, units, levels[0], common, scales))


def _not_understood(
    axes: str,
    units: Mapping[str, str],
    first: Level,
    common: np.ndarray,
    scales: Mapping[str, Any],
) -> str:
    """Say what is given of the pixel size, where it is no length; a scale of 1 says nothing."""
    if first.mpp is not None:
        return ""
    scale = common * _scale(scales["datasets"][0], len(axes))
    y, x = (float(scale[axes.index(axis)]) for axis in "yx")
    unit = units["y"] or units["x"]
    if (y, x) == (1, 1) and not unit:
        return ""
    return f"OME-Zarr gives pixels of {y:g} × {x:g} in " + (f"'{unit}'" if unit else "no unit")


def _scale(described: Mapping[str, Any], axes: int) -> np.ndarray:
    factors: np.ndarray = np.ones(axes)
    for transform in described.get("coordinateTransformations", ()):
        if transform["type"] == "scale":
            factors = factors * np.asarray(transform["scale"], np.float64)
    return factors


def _shift(described: Mapping[str, Any], axes: int) -> np.ndarray:
    shift: np.ndarray = np.zeros(axes)
    for transform in described.get("coordinateTransformations", ()):
        if transform["type"] == "translation":
            shift = shift + np.asarray(transform["translation"], np.float64)
    return shift


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    if not np.isfinite(values).all():
        raise ValueError(f"scale or translation {values}")
    return tuple(float(value) for value in values)


def _mpp(axes: str, units: Mapping[str, str], scale: np.ndarray) -> tuple[float, float] | None:
    y, x = (_MICRONS.get(units[axis], 0.0) * float(scale[axes.index(axis)]) for axis in "yx")
    return (y, x) if min(y, x) > 0 and np.isfinite([y, x]).all() else None


def _z_step(axes: str, units: Mapping[str, str], scale: np.ndarray) -> float | None:
    if "z" not in axes:
        return None
    step = _MICRONS.get(units["z"], 0.0) * float(scale[axes.index("z")])
    return step if step > 0 and np.isfinite(step) else None
