"""The planes of a volume as a 2-D network is given them: each at its scale, all by one contrast.

Levels and percentiles are those of the whole stack, so that a plane with nothing in it stays empty
instead of being stretched. What equalises within windows (CLAHE) has each plane to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.channels import SelectedChannels
from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Box, Windowed
from cellmill.models.card import ModelCard
from cellmill.preprocessing.network_input import network_input
from cellmill.preprocessing.normalisation import CLAHE, NormalisedImage, normalisation_of
from cellmill.preprocessing.pixels import read_in_threads
from cellmill.preprocessing.resize import ResizedImage


@dataclass(frozen=True)
class PreparedVolume:
    """A volume whose planes are ready for a network.

    Attributes:
        shape: `(Z, Y', X', C)`.
        notes: what a user should know of its contrast.
    """

    shape: tuple[int, ...]
    notes: tuple[str, ...]
    _views: Sequence[Windowed]

    def plane(self, z: int) -> np.ndarray:
        """Compute a plane, `(Y', X', C)` float32."""
        height, width = self.shape[1:3]
        if len(self._views) == 1:
            return read_in_threads(self._views[0], Box(z * height, (z + 1) * height, 0, width))
        return read_in_threads(self._views[z], Box(0, height, 0, width))


def prepare_volume(
    planes: Sequence[SelectedChannels],
    card: ModelCard,
    *,
    shape: tuple[int, int],
    memory: int,
    what: str = "image",
) -> PreparedVolume:
    """Bring a volume's planes to the scale and the values that a model's card asks for.

    Args:
        planes: each `(Y, X, C)`, the model's channels.
        card: of the model.
        shape: `(Y, X)` of a plane at the network's scale.
        memory: bytes that the passes over the volume may hold.
        what: the image's name in error messages.

    Raises:
        BadInput: a value is NaN or infinite.
    """
    depth = len(planes)
    if card.preprocessing.method in CLAHE:
        views = [
            network_input(
                each.image, card, channels=each.channels, shape=shape, memory=memory, what=what
            )
            for each in planes
        ]
        notes = [note for view in views for note in view.normalisation.notes]
        return PreparedVolume((depth, *views[0].shape), tuple(dict.fromkeys(notes)), views)
    resampling = card.input.resampling
    resized = [ResizedImage(each, shape, what=what, resampling=resampling) for each in planes]
    laid = LaidOut(resized)
    found = normalisation_of(laid, card.preprocessing, memory=memory, what=what)
    view = NormalisedImage(laid, found)
    return PreparedVolume((depth, *resized[0].shape), tuple(found.notes), [view])


class LaidOut:
    """The planes of a volume one below the other, as one image that is read by windows.

    Args:
        planes: each `(Y, X, C)`, of one shape.
    """

    def __init__(self, planes: Sequence[Windowed]) -> None:
        self._planes = planes
        first = planes[0]
        self._height = first.shape[0]
        self.shape = (len(planes) * self._height, *first.shape[1:])
        self.dtype = first.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        columns = box.slices[1]
        parts = []
        for z in range(box.y0 // self._height, -(-box.y1 // self._height)):
            top = z * self._height
            rows = slice(max(box.y0 - top, 0), min(box.y1 - top, self._height))
            parts.append(np.asarray(self._planes[z][rows, columns]))
        if not parts:
            parts = [np.empty((*box.shape, *self.shape[2:]), self.dtype)]
        joined: np.ndarray = np.concatenate(parts)[rest]
        return joined
