"""Outlines of labelled cells, and the picture that shows them on their image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.reporting.display import (
    MAX_SIDE,
    compose,
    reduce_channels,
    reduce_labels,
    reduction,
)
from cellmill.reporting.pictures import encode_png

Colour = tuple[int, int, int]

# Apart from each other, from greys, and from magenta and green, also for colour-blind readers.
COLOURS: Mapping[str, Colour] = {"whole_cell": (255, 128, 24), "nuclear": (64, 212, 255)}
TRUTH_COLOURS: Mapping[str, Colour] = {"whole_cell": (255, 232, 64), "nuclear": (190, 255, 90)}
_OTHER: Colour = (255, 255, 255)


def colour_of(compartment: str, truth: bool = False) -> Colour:
    """Return the colour of a compartment's outlines."""
    return (TRUTH_COLOURS if truth else COLOURS).get(compartment, _OTHER)


def outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels that outline each object, in lines one pixel thick.

    A pixel is on an outline when one of its four neighbours, on whichever side, has a lesser
    label: the line runs inside an object along the background, and once, not twice, between two
    objects that touch. An object is left open where the image's edge cuts it.

    Args:
        labels: ``(Y, X)`` of an integer dtype, 0 is background.

    Returns:
        bool ``(Y, X)``.
    """
    edge = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        edge[here] |= labels[here] > labels[there]
        edge[there] |= labels[there] > labels[here]
    return edge


def overlay(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int] = (0,),
    max_side: int = MAX_SIDE,
) -> np.ndarray:
    """Draw the outlines of cells on their image.

    Args:
        image: ``(Y, X, C)``, any real dtype.
        labels: ``(Y, X)`` label images by compartment; each has its colour, nuclei are on top.
        channels: indices into C to show; one in greys, two in magenta and green, none as black.
        max_side: an image with a longer side is reduced by the least whole factor that brings it
            within; the labels are sampled on the same grid and outlined there, so that lines
            stay one pixel thick.

    Returns:
        uint8 RGB ``(⌈Y / factor⌉, ⌈X / factor⌉, 3)``.

    Raises:
        BadInput: image and labels are not of one shape, or the image has no pixels.
    """
    check_shapes(image, labels)
    factor = reduction(image.shape, max_side)
    base = compose(reduce_channels(image, channels, factor))
    rgb = np.stack([base] * 3, axis=-1) if base.ndim == 2 else base
    for compartment in sorted(labels, key=lambda name: name == "nuclear"):
        rgb[outline(reduce_labels(labels[compartment], factor))] = colour_of(compartment)
    return rgb


def overlay_png(
    image: Windowed,
    labels: Mapping[str, Windowed],
    channels: Sequence[int] = (0,),
    max_side: int = MAX_SIDE,
) -> bytes:
    """Return ``overlay`` as a PNG file, 8-bit RGB."""
    return encode_png(overlay(image, labels, channels, max_side))


def outline_png(labels: np.ndarray, colour: Colour) -> bytes:
    """Return the outlines alone as a PNG file: transparent but for lines of one colour."""
    picture = Image.fromarray(outline(labels).astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=0, bits=1)
    return buffer.getvalue()


def check_shapes(image: Windowed, labels: Mapping[str, Windowed]) -> None:
    """Refuse an image that is no ``(Y, X, C)`` with pixels, or label images of another shape."""
    if len(image.shape) != 3 or 0 in image.shape[:2]:
        raise BadInput("image", expected="(Y, X, C) with pixels", found=f"shape {image.shape}")
    for name, array in labels.items():
        if tuple(array.shape) != tuple(image.shape[:2]):
            raise BadInput(
                f"labels '{name}'", expected=f"shape {image.shape[:2]}", found=str(array.shape)
            )
