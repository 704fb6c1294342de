"""Boxes of volumes, which clients send, or name by a URI and coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.style_transfer.volumes import Volume, open_volume
from serving.fields import a_whole, shown
from serving.refusals import TooLarge

#: What of a stored volume may be said beside its URI.
PARAMETERS = {
    "scale": "of a volume with several resolutions which, 0 is the finest",
    "black": "value that becomes 0, for volumes that are not uint8",
    "white": "value that becomes 255",
}
Box = tuple[slice, slice, slice]


def stored_volume(uri: str, parameters: Mapping[str, Any]) -> Volume:
    """Open a volume that a client names.

    Raises:
        BadInput: there is none, or what is said of it is not so.
    """
    scale = a_whole(parameters.get("scale", 0), "scale")
    levels = None
    if "black" in parameters or "white" in parameters:
        levels = (a_number(parameters, "black"), a_number(parameters, "white"))
    return open_volume(uri, scale=scale, levels=levels)


def box_of(corners: tuple[int, ...], shape: tuple[int, ...], most: int) -> Box:
    """The box between two corners of a volume; all of it where none are given.

    Args:
        corners: the first voxel (z, y, x), and what follows the last; or empty.
        shape: of the volume.
        most: voxels that it may hold.

    Raises:
        BadInput: it does not lie within the volume, or is empty.
        TooLarge: it holds more.
    """
    given = corners or (0, 0, 0, *shape)
    inside = len(given) == 6 and all(
        0 <= start < stop <= side
        for start, stop, side in zip(given[:3], given[3:], shape, strict=True)
    )
    if not inside:
        expected = f"z, y, x, z, y, x within (0, 0, 0) and {tuple(shape)}, not empty"
        raise BadInput("box", expected=expected, found=f"{list(given)}")
    check_size(tuple(given[3 + axis] - given[axis] for axis in range(3)), most, "box")
    z, y, x = (slice(start, stop) for start, stop in zip(given[:3], given[3:], strict=True))
    return z, y, x


def check_size(shape: tuple[int, ...], most: int, what: str) -> None:
    """Refuse more pixels than one request may ask for.

    Raises:
        TooLarge: there are more.
    """
    if math.prod(shape) > most:
        found = f"{math.prod(shape)}, {' × '.join(map(str, shape))}"
        raise TooLarge(what, expected=f"at most {most} pixels", found=found)


def read_box(volume: Windowed, box: Box) -> np.ndarray:
    """Read a box of a volume, `(Z, Y, X)`."""
    return np.asarray(volume[box])


def a_number(parameters: Mapping[str, Any], name: str) -> float:
    """Give a parameter that must be a number.

    Raises:
        BadInput: it is another.
    """
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(name, expected="a number", found=shown(value))
    return float(value)
