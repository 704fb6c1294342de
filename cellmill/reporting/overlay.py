"""Outlines of labelled cells, and the picture that shows them on their image."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.labels.kinds import NUCLEAR, WHOLE_CELL
from cellmill.reporting.display import MAX_SIDE, Shown, block_rows, show
from cellmill.reporting.pictures import encode_png

Colour = tuple[int, int, int]

# Apart from each other, from greys, and from magenta and green, also for colour-blind readers.
COLOURS: Mapping[str, Colour] = {WHOLE_CELL: (255, 128, 24), NUCLEAR: (64, 212, 255)}
TRUTH_COLOURS: Mapping[str, Colour] = {WHOLE_CELL: (255, 232, 64), NUCLEAR: (190, 255, 90)}
#: Of other kinds of object; which one a kind has depends on its name alone.
_OTHERS: tuple[Colour, ...] = ((255, 96, 112), (236, 188, 255), (120, 240, 200), (255, 206, 150))
_OTHER_TRUTH: Colour = (255, 255, 255)


def colour_of(compartment: str, truth: bool = False) -> Colour:
    """Return the colour of the outlines of a kind of object."""
    if truth:
        return TRUTH_COLOURS.get(compartment, _OTHER_TRUTH)
    other = _OTHERS[zlib.crc32(compartment.encode()) % len(_OTHERS)]
    return COLOURS.get(compartment, other)


def drawing_order(kinds: Iterable[str]) -> list[str]:
    """Return kinds of object as they are drawn: whole cells lowest, nuclei on top."""
    return sorted(kinds, key=lambda kind: (kind == NUCLEAR, kind != WHOLE_CELL))


def outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels that outline each object, in lines one pixel thick.

    A pixel is on an outline when one of its four neighbours, on whichever side, has a lesser
    label: the line runs inside an object along the background, and once, not twice, between two
    objects that touch. An object is left open where the image's edge cuts it.

    Args:
        labels: `(Y, X)` of an integer dtype, 0 is background.

    Returns:
        bool `(Y, X)`.
    """
    edge = np.zeros(labels.shape, bool)

    def mark(top: int) -> None:
        first = max(0, top - 1)
        window = labels[first : top + rows + 1]
        found = np.zeros(window.shape, bool)
        for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
            found[here] |= window[here] > window[there]
            found[there] |= window[there] > window[here]
        edge[top : top + rows] = found[top - first :][:rows]

    rows = block_rows(labels.shape)
    in_threads(mark, range(0, len(labels), rows))
    return edge


def overlay(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int] = (0,),
    max_side: int = MAX_SIDE,
) -> np.ndarray:
    """Draw the outlines of cells on their image.

    Args:
        image: `(Y, X, C)`, any real dtype.
        labels: `(Y, X)` label images by compartment; each has its colour, nuclei are on top.
        channels: indices into C to show; one in greys, two in magenta and green, none as black.
        max_side: an image with a longer side is reduced by the least whole factor that brings it
            within; the labels are sampled on the same grid and outlined there, so that lines
            stay one pixel thick.

    Returns:
        uint8 RGB `(⌈Y / factor⌉, ⌈X / factor⌉, 3)`.

    Raises:
        BadInput: image and labels are not of one shape, or the image has no pixels.
    """
    return draw_outlines(show(image, labels, channels, max_side))


def draw_outlines(shown: Shown) -> np.ndarray:
    """Draw the outlines of cells on their image, as RGB `(Y, X, 3)` uint8."""
    grey = shown.base.ndim == 2
    rgb = cv2.cvtColor(shown.base, cv2.COLOR_GRAY2RGB) if grey else shown.base.copy()
    for compartment in drawing_order(shown.labels):
        rgb[outline(shown.labels[compartment])] = colour_of(compartment)
    return rgb


def overlay_png(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int] = (0,),
    max_side: int = MAX_SIDE,
) -> bytes:
    """Return `overlay` as a PNG file, 8-bit RGB."""
    return encode_png(overlay(image, labels, channels, max_side))
