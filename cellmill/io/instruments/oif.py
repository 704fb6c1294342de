"""Olympus OIF and OIB, read through `oiffile`: a TIFF a plane, and text files that say of what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.io.instruments.stack import LastPlane, Place, Stack
from cellmill.io.tiff.pixel_size import microns_per


@contextlib.contextmanager
def open_stack(path: Path, label: str, series: int) -> Iterator[Stack]:
    """Open the image of an OIF or OIB file.

    Args:
        path: of the file; the folder of an OIF lies beside it.
        label: how messages call it.
        series: which image; there is one.

    Raises:
        BadInput: oiffile is not installed, or the image has axes of other kinds.
    """
    oiffile = extras.load("oiffile", "reading OIF and OIB")
    if series > 0:
        raise BadInput(label, expected="series=0", found=f"series={series}")
    with oiffile.OifFile(path) as file:
        yield _stack(file, label)


def _stack(file: Any, label: str) -> Stack:
    sequence = file.series[0]
    if set(sequence.axes) - set("CZT"):
        raise BadInput(label, expected="axes of C, Z and T", found=sequence.axes)
    sizes = dict(zip(sequence.axes, sequence.shape, strict=True))
    planes = dict(zip(sequence.indices, sequence, strict=True))

    def read(place: Place) -> np.ndarray:
        at = dict(zip("CZT", place, strict=True))
        name = planes.get(tuple(at[axis] for axis in sequence.axes))
        if name is None:
            raise BadInput(label, expected=f"a plane at {at}", found="none")
        with file.open_file(name) as page:
            return np.asarray(tifffile.imread(page))

    window = LastPlane(read)
    first = window((0, 0, 0), slice(None), slice(None))
    if first.ndim != 2:
        raise BadInput(label, expected="planes of (Y, X)", found=f"shape {first.shape}")
    about = file.mainfile
    count = sizes.get("C", 1)
    return Stack(
        source="OIF",
        shape=(int(first.shape[0]), int(first.shape[1])),
        dtype=first.dtype,
        depth=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=_channels(about, count),
        count=count,
        mpp=_mpp(about),
        z_step=_z_step(about),
        window=window,
    )


def _mpp(about: Mapping[str, Any]) -> tuple[float, float] | None:
    size = about.get("Reference Image Parameter", {})
    found = [
        _length(size.get(f"{side}ConvertValue"), size.get(f"{side}Unit"))
        for side in ("Height", "Width")
    ]
    return None if None in found else (found[0], found[1])  # type: ignore[return-value]


def _z_step(about: Mapping[str, Any]) -> float | None:
    for number in range(9):
        axis = about.get(f"Axis {number} Parameters Common", {})
        if axis.get("AxisCode") == "Z" and int(axis.get("MaxSize", 0)) > 1:
            span = abs(float(axis["EndPosition"]) - float(axis["StartPosition"]))
            return _length(span / (int(axis["MaxSize"]) - 1), axis.get("PixUnit"))
    return None


def _length(value: Any, unit: Any) -> float | None:
    """Return a length in microns; None where it is none."""
    scale = microns_per(str(unit or ""))
    if not isinstance(value, int | float) or not scale:
        return None
    return value * scale if 0 < value * scale < float("inf") else None


def _channels(about: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the channels' names: the dye where it is given, or what the program calls it."""
    names = []
    for number in range(1, count + 1):
        said = about.get(f"Channel {number} Parameters", {})
        dye = str(said.get("DyeName") or "")
        names.append(dye if dye and dye != "None" else str(said.get("CH Name") or ""))
    return tuple(names) if all(names) else ()
