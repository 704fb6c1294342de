"""Running a pixel classifier as any network: tiles in, the probabilities of its classes out.

A tile's outermost pixels, as far as the features look, are of no use and stay 0: the card's tiles
overlap by so much, and reach beyond the image by so much. Blocks of a volume begin where it does:
one is mirrored beyond its own sides, which is right where they are the volume's, and elsewhere is
cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.inference.network import Device, Precision, check_heads, check_input
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.classifier import PixelClassifier
from cellmill.pixel_classification.features import window_sides
from cellmill.pixel_classification.torch_device import TorchPixels, pixels_on

#: Rows of a tile that a thread takes at a time.
_ROWS = 128


@dataclass(frozen=True)
class ForestNetwork:
    """A loaded pixel classifier: call it with tiles.

    Args:
        classifier: what computes.
        effect: what took effect, for the record.
        gpu: what computes on a GPU; None on processors.
    """

    classifier: PixelClassifier
    effect: dict[str, Any]
    gpu: TorchPixels | None = None

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What a call raises where memory is exhausted."""
        return self.gpu.memory_errors if self.gpu else (MemoryError,)

    def gpu_peak_bytes(self) -> int:
        """The most memory held on a GPU so far; 0 on processors."""
        return self.gpu.peak_bytes() if self.gpu else 0

    def __call__(self, tiles: np.ndarray, /) -> list[np.ndarray]:
        """Predict a batch of tiles, or of blocks of volumes; see `network.Network`."""
        if self.classifier.features.axes == 3:
            device = "cuda" if self.gpu else "cpu"
            blocks = [
                self.classifier.probabilities(block, device=device, threads=self.effect["threads"])
                for block in tiles
            ]
            return [np.stack(blocks)]
        channels = np.ascontiguousarray(np.moveaxis(tiles, -1, 1), np.float32)
        out = np.zeros((*tiles.shape[:3], len(self.classifier.classes)), np.float32)
        high, wide = self.classifier.features.halo
        bottom, right = tiles.shape[1] - high, tiles.shape[2] - wide
        if self.gpu:
            features, forest = self.classifier.features, self.classifier.forest
            for tile, inner in zip(channels, out, strict=True):
                found = self.gpu.probabilities(tile, features, forest)
                inner[high:bottom, wide:right] = found
            return [out]
        parts = [
            (tile, top, min(top + _ROWS, bottom))
            for tile in range(len(tiles))
            for top in range(high, bottom, _ROWS)
        ]

        def work(part: tuple[int, int, int]) -> None:
            tile, top, stop = part
            window = np.ascontiguousarray(channels[tile, :, top - high : stop + high])
            self.classifier.classify(window, out[tile, top:stop, wide:right])

        in_threads(work, parts, self.effect["threads"])
        return [out]


def load(
    folder: Path,
    card: ModelCard,
    *,
    device: Device,
    precision: Precision,
    threads: int,
    heads: Sequence[str],
) -> ForestNetwork:
    """Load the pixel classifier that lies beside a card; see `registry.Engine.open`.

    Raises:
        BadInput: it is damaged, or not the card's; or there is no such device.
    """
    classifier = PixelClassifier.load(folder)
    axes = classifier.features.axes
    if axes != len(card.input.tile):
        shown = {2: "of images", 3: "of volumes"}
        raise BadInput(
            f"pixel classifier of model '{folder}'",
            expected=f"one {shown[len(card.input.tile)]}, as its card says",
            found=f"one {shown[axes]}",
        )
    channels, classes = classifier.features.channels, len(classifier.classes)
    check_input(
        (None, *card.input.tile, max(channels, len(card.input.channels))), True, card, folder
    )
    check_heads([(None, *card.input.tile, classes)], card, folder)
    if axes == 2:
        _check_tiles(classifier, card, folder)
        high, wide = classifier.features.halo
        sides: tuple[int, ...] = (card.input.tile[0] - 2 * high, card.input.tile[1] - 2 * wide)
    else:
        sides = window_sides(classifier.features)
    asked = "cuda" if device == "gpu" else device
    gpu = pixels_on(asked, classifier.features, sides, classifier.forest)
    effect: dict[str, Any] = {
        "engine": "forest",
        "numba": numba.__version__,
        "device": "gpu" if gpu else "cpu",
        "threads": threads or thread_count(),
        "precision": precision,
        "trees": classifier.forest.trees,
        "features": classifier.features.count,
    }
    return ForestNetwork(classifier, effect, gpu)


def _check_tiles(classifier: PixelClassifier, card: ModelCard, folder: Path) -> None:
    """Refuse a card whose tiles would show pixels that lack a part of their surroundings."""
    far = max(classifier.features.halo)
    tiling, side = card.tiling, min(card.input.tile)
    enough = tiling.margin >= far and int(tiling.overlap * side) >= 2 * far
    cropped = tiling.padding == "reflect" and card.heads[0].placement == "cropped"
    if not enough or not cropped:
        raise BadInput(
            f"tiling of model '{folder}'",
            expected=f"cropped tiles with a margin of {far} px and an overlap of {2 * far}, "
            "mirrored beyond the image",
            found=f"margin {tiling.margin}, overlap {tiling.overlap:g} of {side}",
        )
