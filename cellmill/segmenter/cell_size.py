"""How large an image's objects are, by the size model of a Cellpose network.

What is computed is what cellpose 3.1.1.3 does for a diameter of 0 (its `SizeModel`; Stringer et
al., Nature Methods 18, 2021). The image is shown to the network as if its objects had the mean size
of those that the network was trained on; its style tells their diameter roughly, by a linear model.
At the scale that this makes the network's, objects are looked for, and the median of their
diameters is the estimate. Cellpose asks of the whole image, whatever its size; here of an image of
more than 64 Mpx windows spread over it stand for all, so that a slide takes no longer than that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cellmill.arrays.channels import SelectedChannels
from cellmill.arrays.indexing import Part, box_of
from cellmill.arrays.windows import Box, Grid, Windowed
from cellmill.inference.predictor import Predictor
from cellmill.inference.style import image_style
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.labels.objects import object_areas
from cellmill.models.card import Head, ModelCard
from cellmill.models.size_model import SizeModel, style_card
from cellmill.preprocessing import StyleEstimate
from cellmill.preprocessing.normalisation import NormalisedImage, normalisation_of
from cellmill.preprocessing.object_size import spread_windows
from cellmill.preprocessing.resize import ResizedImage

#: An image that is larger at the network's scale is looked at in parts of this side, pixels.
_SIDE = 2048
#: Of an image of more pixels than that at most so many windows of this side are looked at.
_WHOLE, _MOST, _WINDOW = 8192**2, 32, 1024

Opened = Callable[[ModelCard, Sequence[Head]], Predictor]
"""Opens the model's network by a card, for some heads."""


class CellSize:
    """Asks the size model of one network; several threads may, and take turns.

    Args:
        folder: of the model.
        card: of the model, which says that it has a size model.
        opened: opens its network; called when the first image comes.

    Raises:
        BadInput: there is no size model beside the network, or a wrong one.
    """

    def __init__(self, folder: Path, card: ModelCard, opened: Opened) -> None:
        self.model = SizeModel.load(folder, card.name)
        self._card, self._opened = card, opened
        self._turn = threading.Lock()
        kind = card.default_compartment
        values = card.postprocessing[kind]
        names = (values["flows_head"], values["probability_head"])
        self._heads = [head for head in card.heads if head.name in names]
        self._trained = card.input.object_diameter[kind]

    @classmethod
    def of(cls, folder: Path, card: ModelCard, opened: Opened) -> CellSize | None:
        """The size model of a model; `None` where it has none."""
        return cls(folder, card, opened) if card.size_model else None

    def __call__(self, image: Windowed, memory: int, what: str = "image") -> StyleEstimate:
        """Estimate the diameter of an image's objects.

        Args:
            image: `(Y, X, C)`, the model's channels in its order.
            memory: bytes to find the image's contrast in.
            what: the image's name in error messages.

        Raises:
            BadInput: the image has values that are not finite.
        """
        found = normalisation_of(image, self._card.preprocessing, memory=memory, what=what)
        whole = NormalisedImage(image, found)
        views = [Part(whole, box) for box in asked_windows((image.shape[0], image.shape[1]))]
        with self._turn:
            by_style = self.model.diameter_of(self._style_of(views))
            areas = np.concatenate([self._areas(view, by_style) for view in views])
        # Cellpose's diameters are those of circles; where there is no object it says its own.
        median = float(np.median(np.sqrt(areas))) / (math.sqrt(math.pi) / 2) if len(areas) else 0.0
        return StyleEstimate(median or self.model.diameter, by_style, len(areas))

    @cached_property
    def _style(self) -> Predictor:
        card = style_card(self._card, len(self.model.weights))
        return self._opened(card, card.heads)

    @cached_property
    def _network(self) -> Predictor:
        return self._opened(self._card, self._heads)

    def _style_of(self, views: Sequence[Windowed]) -> np.ndarray:
        """The style of an image by its parts, in which objects would be of the mean diameter."""
        factor = self._trained / self.model.shown_diameter
        shown = [Rescaled(view, factor) for view in views]
        return image_style(
            [(each, card_grid(self._card, each.shape[:2])) for each in shown], self._style
        )

    def _areas(self, view: Windowed, by_style: float) -> np.ndarray:
        """Areas in pixels of the image of the objects in a part of it."""
        from cellmill.segmentation.cellpose.in_memory import segment_coarsely

        shape = (view.shape[0], view.shape[1])
        pixels = Rescaled(view, self.model.diameter / by_style)
        grid = Grid(pixels.shape[:2], _SIDE)
        found = []
        for box in map(grid.box, range(len(grid))):
            part = np.asarray(pixels[box.slices])
            maps = [np.zeros((*box.shape, head.channels), np.float32) for head in self._heads]
            tiles = card_grid(self._card, box.shape)
            predict_tiled(part, self._network, tiles, maps, heads=self._heads)
            by_kind = dict(zip((head.kind for head in self._heads), maps, strict=True))
            flows, probability = by_kind["flows"], by_kind["pixelwise"][..., 0]
            own = shape if len(grid) == 1 else pixels.unscaled(box)
            found.append(object_areas(segment_coarsely(flows, probability, own)))
        return np.concatenate(found)


def asked_windows(shape: tuple[int, int]) -> list[Box]:
    """What a size model is asked of an image `(Y, X)`: all of it, or windows spread over it."""
    if shape[0] * shape[1] <= _WHOLE:
        return [Box(0, shape[0], 0, shape[1])]
    return spread_windows(shape, _WINDOW, _MOST)


class Rescaled:
    """An image resized as cellpose does it, of which any window can be read.

    Args:
        image: `(Y, X, C)` float32.
        factor: of its sides, which are cut to whole pixels; at least one is left.
    """

    def __init__(self, image: Windowed, factor: float) -> None:
        height, width, count = image.shape
        own = (height, width)
        self._own = own
        sides = own if factor == 1 else tuple(max(int(side * factor), 1) for side in own)
        self.shape = (sides[0], sides[1], count)
        self.dtype = image.dtype
        # Of one channel at a time: OpenCV's linear interpolation.
        self._channels = [
            ResizedImage(SelectedChannels(image, (k,)), self.shape[:2], (0.0, 1.0))
            for k in range(count)
        ]

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape)
        planes = [channel[box.slices] for channel in self._channels]
        return np.concatenate(planes, axis=-1)[rest]

    def unscaled(self, box: Box) -> tuple[int, int]:
        """The sides of a box at the scale of the image itself."""
        sides = (
            max(round(side * whole / resized), 1)
            for side, whole, resized in zip(box.shape, self._own, self.shape, strict=False)
        )
        high, wide = sides
        return high, wide
