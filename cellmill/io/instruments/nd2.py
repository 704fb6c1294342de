"""Nikon ND2, read through `nd2`: a frame holds all channels of one plane."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.io.instruments.stack import LastPlane, Place, Stack, chosen_image

_COLOURS = ("red", "green", "blue")


@contextlib.contextmanager
def open_stack(path: Path, label: str, series: int) -> Iterator[Stack]:
    """Open one position of an ND2 file.

    Args:
        path: of the file.
        label: how messages call it.
        series: which position; -1: the only one.

    Raises:
        BadInput: nd2 is not installed, or which position is meant is not said.
    """
    package = extras.load("nd2", "reading ND2")
    with package.ND2File(path) as file:
        yield _stack(file, label, series)


def _stack(file: Any, label: str, series: int) -> Stack:
    sizes = {str(axis): int(length) for axis, length in file.sizes.items()}
    if set(sizes) - set("TPZCYXS"):
        raise BadInput(label, expected="axes of T, P, Z, C, Y and X", found=", ".join(sizes))
    shape = (sizes["Y"], sizes["X"])
    positions = sizes.get("P", 1)
    position = chosen_image([shape] * positions, [""] * positions, series, label, "positions")
    samples, channels = sizes.get("S", 1), sizes.get("C", 1)
    if samples > 1 and channels > 1:
        raise BadInput(label, expected="one channel of colours", found=f"{channels} of them")
    loops = [axis for axis in sizes if axis in "TPZ"]
    lengths = [sizes[axis] for axis in loops]

    # A frame holds all channels, which are read one after the other.
    @functools.lru_cache(1)
    def frame(number: int) -> np.ndarray:
        return np.asarray(file.read_frame(number))

    def read(place: Place) -> np.ndarray:
        channel, z, t = place
        at = {"T": t, "P": position, "Z": z}
        index = [at[axis] for axis in loops]
        pixels = frame(int(np.ravel_multi_index(index, lengths)) if loops else 0)
        if samples > 1:
            return pixels[..., channel]
        return pixels[channel] if pixels.ndim == 3 else pixels

    voxel = file.voxel_size()
    known = _calibrated(file)
    names = _COLOURS if samples == 3 else _channels(file, channels)
    return Stack(
        source="ND2",
        shape=shape,
        dtype=np.dtype(file.dtype),
        depth=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=names,
        count=max(samples, channels),
        mpp=(float(voxel.y), float(voxel.x)) if known[0] and known[1] else None,
        z_step=float(voxel.z) if known[2] else None,
        window=LastPlane(read),
        colour=samples == 3,
    )


def _calibrated(file: Any) -> tuple[bool, bool, bool]:
    """Say along which of x, y and z the file knows the size of its voxels."""
    for channel in getattr(file.metadata, "channels", None) or ():
        x, y, z = channel.volume.axesCalibrated
        return bool(x), bool(y), bool(z)
    return False, False, False


def _channels(file: Any, count: int) -> tuple[str, ...]:
    """Return the channels' names; none where not each has one."""
    about = getattr(file.metadata, "channels", None) or ()
    names = tuple(str(each.channel.name or "") for each in about)
    return names if len(names) == count and all(names) else ()
