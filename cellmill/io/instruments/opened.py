"""A file in a microscope's own format as an image to read from."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.compute.faults import fault_of
from cellmill.errors import BadInput, CellmillError
from cellmill.io.instruments.stack import Stack
from cellmill.io.tiff.axes import FocalPlane, pick_plane, pick_planes
from cellmill.io.tiff.layout import PIXEL_DTYPES
from cellmill.io.tiff.pixel_size import volume_mpp
from cellmill.io.uris import local_path, one_line
from cellmill.io.windowed_image import WindowedImage

#: The module that reads a format, by what its files end in.
_READERS: Mapping[str, str] = {
    ".czi": "czi",
    ".lif": "lif",
    ".nd2": "nd2",
    ".oib": "oif",
    ".oif": "oif",
}


@contextlib.contextmanager
def open_instrument_image(
    uri: str,
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
    t: int = -1,
    series: int = -1,
) -> Iterator[WindowedImage]:
    """Open an image of a CZI, LIF, ND2, OIB or OIF file; none of them is read as a pyramid.

    The arguments are those of `cellmill.io.tiff.layout.open_image`.

    Raises:
        BadInput: the file is not on this machine, nor in a bucket that is mounted; it is damaged;
            the package that reads it is not installed; or which image, Z or T is meant is not said.
    """
    label = f"image '{uri}'"
    path = local_path(uri)
    if path is None:
        raise BadInput(label, expected="a file on this machine (copy it first)", found="a URI")
    with one_line(uri), path.open("rb") as file:
        if not file.read(1):
            raise BadInput(label, expected="a microscope's file", found="an empty file")
    suffix = path.suffix.lower()
    reader = importlib.import_module(f"cellmill.io.instruments.{_READERS[suffix]}")
    with contextlib.ExitStack() as opened:
        kind = suffix[1:].upper()
        with _damage_is_bad_input(label, kind):
            stack = opened.enter_context(reader.open_stack(path, label, series))
        yield image_of(stack, label, kind, mpp=mpp, z_step=z_step, z=z, t=t)


def image_of(
    stack: Stack, label: str, kind: str, *, mpp: float, z_step: float, z: FocalPlane, t: int
) -> WindowedImage:
    """Return an image that is read from what a reader gives.

    Args:
        stack: what it gives.
        label: how messages call the image.
        kind: how they call its format.
        mpp: pixel size in microns, in place of the file's; 0: the file's.
        z_step: microns between focal planes, likewise.
        z: which focal plane, 0-based; -1: the only one; `"all"`: all of them.
        t: which time point, 0-based; -1: the only one.

    Raises:
        BadInput: Z or T is not there, or which is meant is not said; or pixels are no numbers.
    """
    if stack.dtype.name not in PIXEL_DTYPES:
        raise BadInput(label, expected="pixels that are integers or floats", found=f"{stack.dtype}")
    depths = pick_planes(stack.depth, z, label)
    time = pick_plane("T", stack.times, t, label)
    channels = range(stack.count)
    planes = tuple(
        tuple(_Plane(stack, (channel, depth, time), label, kind) for channel in channels)
        for depth in depths
    )
    remarks: list[str] = []
    size: tuple[float, ...] | None = (mpp, mpp) if mpp else stack.mpp
    if size is None:
        remarks.append(f"{stack.source} gives no pixel size")
    elif z == "all":
        size = volume_mpp((size[0], size[1]), z_step or stack.z_step, remarks)
    return WindowedImage(
        label=label,
        shape=(len(planes), *stack.shape) if z == "all" else stack.shape,
        dtype=np.dtype(PIXEL_DTYPES[stack.dtype.name]),
        stored_dtype=stack.dtype,
        channels=stack.channels or tuple(map(str, channels)),
        mpp=size,
        mpp_source="unknown" if size is None else "parameter" if mpp else stack.source,
        level=0,
        level_shapes=(stack.shape,),
        remarks=tuple(remarks),
        planes=planes[0],
        stack=planes if z == "all" else (),
        times=stack.times,
        colour=stack.colour,
    )


@dataclass(frozen=True)
class _Plane:
    """One channel at one focal plane and time point, `(Y, X)`, read by windows."""

    stack: Stack
    place: tuple[int, int, int]
    label: str
    kind: str

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X), pixels."""
        return self.stack.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels as stored."""
        return self.stack.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window of two slices."""
        rows, columns = (
            slice(*part.indices(length)) for part, length in zip(window, self.shape, strict=True)
        )
        with _damage_is_bad_input(self.label, self.kind):
            pixels = self.stack.window(self.place, rows, columns)
        expected = (rows.stop - rows.start, columns.stop - columns.start)
        if pixels.shape != expected or pixels.dtype != self.dtype:
            found = f"{pixels.dtype} of shape {pixels.shape}"
            raise BadInput(self.label, expected=f"{self.dtype} of shape {expected}", found=found)
        return pixels


@contextlib.contextmanager
def _damage_is_bad_input(label: str, kind: str) -> Iterator[None]:
    """Turn whatever a package raises on a file that it cannot read into one line."""
    try:
        yield
    except CellmillError:
        raise
    except Exception as error:
        if fault := fault_of(error):
            raise fault from error
        said = " ".join(str(error).split())[:200] or type(error).__name__
        expected = f"a whole, readable {kind} file"
        raise BadInput(label, expected=expected, found=said) from error
