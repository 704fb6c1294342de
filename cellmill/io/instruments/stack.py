"""What every reader of a microscope's own format gives: one image of a file, window by window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.errors import BadInput

#: `(channel, focal plane, time point)`, each 0-based.
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Stack:
    """One image of a file.

    Attributes:
        source: what the format is called: `"CZI"`.
        shape: (Y, X), pixels.
        dtype: of the pixels as stored.
        depth: how many focal planes there are.
        times: how many time points there are.
        channels: their names; empty where the file gives none.
        count: how many channels there are.
        mpp: pixel size (y, x) in microns, None where unknown.
        z_step: microns between focal planes, None where unknown.
        window: reads rows and columns of a plane, `(Y, X)`.
        colour: whether the channels are red, green and blue of one picture.
    """

    source: str
    shape: tuple[int, int]
    dtype: np.dtype
    depth: int
    times: int
    channels: tuple[str, ...]
    count: int
    mpp: tuple[float, float] | None
    z_step: float | None
    window: Callable[[Place, slice, slice], np.ndarray]
    colour: bool = False


class LastPlane:
    """Planes that a package reads only as a whole: the last one is kept for the next window.

    Args:
        read: gives a plane, `(Y, X)`.
    """

    def __init__(self, read: Callable[[Place], np.ndarray]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._place: Place | None = None
        self._pixels: np.ndarray | None = None

    def __call__(self, place: Place, rows: slice, columns: slice) -> np.ndarray:
        """Read a window of a plane, `(Y, X)`."""
        with self._lock:
            if self._pixels is None or place != self._place:
                self._pixels = None
                self._place, self._pixels = place, self._read(place)
            return np.array(self._pixels[rows, columns])


def chosen_image(
    shapes: Sequence[tuple[int, int]], names: Sequence[str], series: int, label: str, what: str
) -> int:
    """Return the place of the image that is meant of a file with several.

    Args:
        shapes: (Y, X) of each, pixels.
        names: what the file calls them.
        series: the one asked for, 0-based; -1: the only one, or the largest.
        label: how messages call the file.
        what: how messages call the images: `scenes`.

    Raises:
        BadInput: there is none; it is not there; or several are the largest, and none is asked for.
    """
    if not shapes:
        raise BadInput(label, expected="an image", found=f"no {what}")
    if series >= len(shapes):
        raise BadInput(label, expected=f"series=0…{len(shapes) - 1}", found=f"series={series}")
    if series >= 0:
        return series
    areas = [y * x for y, x in shapes]
    most = max(areas)
    largest = [place for place, area in enumerate(areas) if area == most]
    if len(largest) == 1:
        return largest[0]
    listed = ", ".join(f"{n} '{names[n]}'" if names[n] else f"{n}" for n in largest[:8])
    more = ", …" if len(largest) > 8 else ""
    raise BadInput(
        label,
        expected=f"series=… to say which of its {len(shapes)} {what}",
        found=f"{len(largest)} of one size: {listed}{more}",
    )
