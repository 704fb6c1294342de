"""Cuts through a volume, before and after, at one contrast, with outlines of what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellmill.reporting.pictures import encode_png, uri_of
from cellmill.reporting.psf import in_proportion

#: Brightness is the square root, so that what is dim is seen beside what is bright.
_GAMMA = 0.5
_HIGHEST = 99.9
_SIDE = 330
#: White pixels between panels.
_GAP = 6
_OUTLINE = (255, 205, 60)


@dataclass(frozen=True)
class Panel:
    """One state of an image in a cut.

    Attributes:
        name: of the state.
        pixels: its picture, uint8 `(Y, X)` or `(Y, X, 3)`.
    """

    name: str
    pixels: np.ndarray

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return uri_of(encode_png(self.pixels), "png")


@dataclass(frozen=True)
class Cut:
    """One cut through all states.

    Attributes:
        title: which.
        point: voxel that all cuts go through, an axis each.
        panels: a picture a state.
    """

    title: str
    point: tuple[int, ...]
    panels: tuple[Panel, ...]


def cut_panels(
    states: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    sizes: Sequence[float],
) -> list[Cut]:
    """Cut all states through the brightest object, at one contrast.

    Args:
        states: `(Y, X)` or `(Z, Y, X)` by name, of one shape; the brightest gives the contrast.
        labels: label images of that shape by state, to be outlined.
        sizes: µm per voxel, an axis each.
    """
    first = next(iter(states.values()))
    point = _brightest([*states.values()][-1])
    # Of each state 99.9 % is seen; that of the brightest counts for all.
    top = max(float(np.percentile(values, _HIGHEST)) for values in states.values())
    top = top if top > 0 else 1.0
    found = []
    for title, axis in _cuts(first.ndim):
        panels = []
        for name, values in states.items():
            plane = values if axis is None else values.take(point[axis], axis)
            own = labels.get(name)
            marks = own if own is None or axis is None else own.take(point[axis], axis)
            kept = [size for a, size in enumerate(sizes) if a != axis]
            panels.append(Panel(name, _picture(plane, marks, top, kept)))
        found.append(Cut(title, point, tuple(panels)))
    return found


def side_by_side(cuts: Sequence[Cut]) -> np.ndarray:
    """All cuts in one picture: a row a cut, a column a state.

    Args:
        cuts: as `cut_panels` gives them.

    Returns:
        uint8 `(Y, X, 3)`.
    """
    rows = []
    for cut in cuts:
        colours = [
            p.pixels if p.pixels.ndim == 3 else np.repeat(p.pixels[..., None], 3, axis=-1)
            for p in cut.panels
        ]
        between = np.full((len(colours[0]), _GAP, 3), 255, np.uint8)
        row = [part for colour in colours for part in (colour, between)][:-1]
        rows.append(np.concatenate(row, axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded)[:-_GAP]


def _cuts(axes: int) -> list[tuple[str, int | None]]:
    if axes == 2:
        return [("", None)]
    return [
        ("Plane: x across, y down", 0),
        ("Side view: x across, z down", 1),
        ("Side view: y across, z down", 2),
    ]


def _brightest(volume: np.ndarray) -> tuple[int, ...]:
    smooth = ndimage.gaussian_filter(volume.astype(np.float32), 2)
    return tuple(int(i) for i in np.unravel_index(int(smooth.argmax()), volume.shape))


def _picture(
    plane: np.ndarray, labels: np.ndarray | None, top: float, sizes: Sequence[float]
) -> np.ndarray:
    bright = np.clip(plane / top, 0, 1) ** _GAMMA
    grey = in_proportion(np.rint(255 * bright).astype(np.uint8), sizes, _SIDE)
    if labels is None:
        return grey
    colour = np.repeat(grey[..., None], 3, axis=-1)
    marks = in_proportion(labels, sizes, _SIDE)
    edge = np.zeros(marks.shape, bool)
    for axis in (0, 1):
        moved = np.roll(marks, 1, axis)
        differs = marks != moved
        differs[(slice(0, 1), slice(None)) if axis == 0 else (slice(None), slice(0, 1))] = False
        edge |= differs
    colour[edge] = _OUTLINE
    return colour
