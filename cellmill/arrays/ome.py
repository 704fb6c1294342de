"""What an OME-Zarr 0.5 group of any making says of its image.

Source: OME-NGFF specification 0.5 (multiscales, omero).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.zarr import read_group
from cellmill.errors import BadInput

VERSION = "0.5"
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
    """

    uri: str
    mpp: tuple[float, float] | None


@dataclass(frozen=True)
class OmeImage:
    """An image as its group describes it.

    Attributes:
        axes: of its arrays, small letters, in the order they are stored.
        levels: full resolution first.
        channels: their names; none where the group names none.
    """

    axes: str
    levels: tuple[Level, ...]
    channels: tuple[str, ...]


def read_image(uri: str) -> OmeImage:
    """Read what a group says of its image.

    Args:
        uri: of the group; or of a store with one image group in it, as this library makes them,
            or as bioformats2raw does (the group `0`).

    Raises:
        BadInput: it is no OME-Zarr 0.5 image.
    """
    label = f"image '{uri}'"
    found = "no image in it"
    for group in (uri, f"{uri.rstrip('/')}/image", f"{uri.rstrip('/')}/0"):
        try:
            attributes = read_group(group)
        except BadInput as bad:
            found = bad.found if group == uri else found
            continue
        ome = attributes.get("ome")
        if "multiscales" in attributes:
            found = "OME-Zarr 0.4 or older"
        if not isinstance(ome, dict) or "multiscales" not in ome:
            continue
        if ome.get("version") != VERSION:
            raise BadInput(
                label, expected=f"OME-Zarr {VERSION}", found=f"version {ome.get('version')}"
            )
        try:
            return _image(group, ome)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadInput(
                label,
                expected=f"OME-Zarr {VERSION} metadata",
                found=f"{type(error).__name__}: {error}",
            ) from error
    raise BadInput(label, expected=f"an OME-Zarr {VERSION} image", found=found)


def _image(group: str, ome: Mapping[str, Any]) -> OmeImage:
    scales = ome["multiscales"][0]
    axes = "".join(axis["name"].lower() for axis in scales["axes"])
    if not axes.endswith("yx") or len(axes) != len(scales["axes"]):
        raise ValueError(f"axes {axes}")
    units = {axis["name"].lower(): axis.get("unit", "") for axis in scales["axes"]}
    common = _scale(scales, len(axes))
    levels = tuple(
        Level(
            f"{group.rstrip('/')}/{each['path']}",
            _mpp(axes, units, common * _scale(each, len(axes))),
        )
        for each in scales["datasets"]
    )
    if not levels:
        raise ValueError("no datasets")
    given = (ome.get("omero") or {}).get("channels") or ()
    channels = tuple(str(channel.get("label", i)) for i, channel in enumerate(given))
    return OmeImage(axes, levels, channels)


def _scale(described: Mapping[str, Any], axes: int) -> np.ndarray:
    factors: np.ndarray = np.ones(axes)
    for transform in described.get("coordinateTransformations", ()):
        if transform["type"] == "scale":
            factors = factors * np.asarray(transform["scale"], np.float64)
    return factors


def _mpp(axes: str, units: Mapping[str, str], scale: np.ndarray) -> tuple[float, float] | None:
    y, x = (_MICRONS.get(units[axis], 0.0) * float(scale[axes.index(axis)]) for axis in "yx")
    return (y, x) if min(y, x) > 0 and np.isfinite([y, x]).all() else None
