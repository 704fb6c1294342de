"""Pictures of a comparison: an image as each segmenter outlined it, and cells that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cellmill.arrays.windows import Box, Windowed
from cellmill.metrics.differences import FoundObjects
from cellmill.reporting.display import compose, reduce_channels, reduce_labels, reduction
from cellmill.reporting.overlay import Colour, outline
from cellmill.reporting.pictures import picture_uri

#: Told apart by colour-blind readers too, on greys.
COLOURS: Mapping[str, Colour] = {
    "matching": (64, 212, 255),
    "wrong": (255, 128, 24),
    "missed": (255, 232, 64),
    "truth": (190, 255, 90),
}
#: Sides of a cell's picture, pixels, and what is shown around the cell, as a part of its side.
_CELL_SIDE, _AROUND = 144, 0.6
_LEAST_AROUND = 8


@dataclass(frozen=True)
class Panel:
    """A picture with a name and a line under it."""

    name: str
    uri: str
    caption: str


@dataclass(frozen=True)
class CellPictures:
    """One true object as the truth and each segmenter have it.

    Attributes:
        title: where it is.
        panels: the truth's first, then the segmenters' in their order.
    """

    title: str
    panels: Sequence[Panel]


def image_panels(
    image: Windowed,
    truth: Windowed,
    labels: Mapping[str, Windowed],
    found: Mapping[str, FoundObjects],
    channels: Sequence[int],
    max_side: int,
) -> list[Panel]:
    """Draw an image once for each segmenter.

    Args:
        image: `(Y, X, C)`, any real dtype.
        truth: `(Y, X)` true labels.
        labels: by segmenter.
        found: by segmenter what it found of the truth.
        channels: indices into C to show.
        max_side: longest side of a picture, pixels.
    """
    factor = reduction(image.shape, max_side)
    base = _rgb(compose(reduce_channels(image, channels, factor)))
    true = reduce_labels(truth, factor)
    panels = []
    for name, each in labels.items():
        pixels = _outlined(base, true, reduce_labels(each, factor), found[name])
        matched = int(found[name].found.sum())
        said = f"{matched} of {len(found[name].labels)} true objects are matched"
        panels.append(Panel(name, picture_uri(pixels)[0], said))
    return panels


def cell_pictures(
    image: Windowed,
    truth: Windowed,
    labels: Mapping[str, Windowed],
    found: Mapping[str, FoundObjects],
    place: int,
    channels: Sequence[int],
    image_name: str,
) -> CellPictures:
    """Draw one true object and what is around it, by the truth and by each segmenter.

    Args:
        image: `(Y, X, C)`, any real dtype.
        truth: `(Y, X)` true labels.
        labels: by segmenter.
        found: by segmenter what it found of the truth.
        place: of the object in the tables of `found`.
        channels: indices into C to show.
        image_name: for the title.
    """
    table = next(iter(found.values()))
    box = _around(table.boxes[place], (image.shape[0], image.shape[1]))
    # Whole factors, so that outlines are those of pixels.
    factor = max(1, _CELL_SIDE // max(box.shape))
    base = _rgb(compose(np.asarray(image[box.slices])[..., list(channels)].astype(np.float32)))
    base = _enlarged(base, factor)
    true = _enlarged(np.asarray(truth[box.slices]), factor)
    shown = base.copy()
    shown[outline(true)] = COLOURS["truth"]
    panels = [Panel("truth", picture_uri(shown)[0], "")]
    for name, each in labels.items():
        own = _enlarged(np.asarray(each[box.slices]), factor)
        pixels = _outlined(base, true, own, found[name])
        iou = found[name].best_iou[place]
        panels.append(Panel(name, picture_uri(pixels)[0], f"IoU {iou:.2f}"))
    y, x = (table.boxes[place][:2] + table.boxes[place][2:]) // 2
    return CellPictures(f"{image_name}: y {y}, x {x}", panels)


def _outlined(
    base: np.ndarray, truth: np.ndarray, labels: np.ndarray, found: FoundObjects
) -> np.ndarray:
    """Outlines of objects that match and that do not, and of true ones that were missed."""
    shown = base.copy()
    missed = np.where(np.isin(truth, found.labels[~found.found]), truth, 0)
    shown[outline(missed)] = COLOURS["missed"]
    edges = outline(labels)
    # Each of the two by itself: along a common line the one with the greater label is drawn.
    matching = np.isin(labels, found.matching)
    shown[edges & ~matching] = COLOURS["wrong"]
    shown[edges & matching] = COLOURS["matching"]
    return shown


def _around(box: np.ndarray, shape: tuple[int, int]) -> Box:
    y0, x0, y1, x1 = (int(edge) for edge in box)
    margin = max(_LEAST_AROUND, int(max(y1 - y0, x1 - x0) * _AROUND))
    return Box(y0, y1, x0, x1).grown(margin, shape)


def _enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def _rgb(base: np.ndarray) -> np.ndarray:
    grey = base.ndim == 2
    return np.asarray(cv2.cvtColor(base, cv2.COLOR_GRAY2RGB) if grey else base.copy())
