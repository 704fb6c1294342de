"""The network's outputs for an image, in memory or on disk."""

from __future__ import annotations

import contextlib

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.inference.predictor import Predictor
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import ModelCard
from cellmill.segmenter.work import UNIT, Work


def predicted(
    predictor: Predictor | None,
    card: ModelCard,
    turn: contextlib.AbstractContextManager[object],
    pixels: Windowed,
    work: Work,
    *,
    in_memory: bool = False,
) -> dict[str, Windowed]:
    """The network's outputs for an image, those that the methods read.

    Args:
        predictor: of the network; None where the methods need none.
        card: of the model.
        turn: held while the network runs.
        pixels: `(Y, X, C)`, as the network is shown them; `(Z, Y, X, C)` if it sees volumes.
        work: says where outputs lie, and takes the times.
        in_memory: whether they are held however large they are.

    Returns:
        `(Y', X', C)`, or `(Z', Y', X', C)`, by the head's name.
    """
    if predictor is None:
        return {}
    if len(pixels.shape) == 4:
        with work.step("predict"):
            shapes = {head.name: head.shape_over(pixels.shape[:3]) for head in predictor.heads}
            volumes = {name: work.volume(name, shape) for name, shape in shapes.items()}
            with turn:
                predictor.predict_volume(pixels, [*volumes.values()])
        return {**volumes}
    height, width, count = pixels.shape
    grid = card_grid(card, (height, width))
    with work.step("predict"):
        channels = sum(head.channels for head in predictor.heads)
        small = in_memory or work.fits(height * width * (channels + count) * 4)
        maps = {
            head.name: work.array(
                head.name, head.shape_over(grid.shape), np.float32, in_memory=small
            )
            for head in predictor.heads
        }
        done = 0

        def on_tiles(count: int) -> None:
            nonlocal done
            done += count
            # Tiles at the cuts of strips are predicted twice.
            work.report("predict", min(done / len(grid), 1.0))

        with turn:
            predict_tiled(
                pixels,
                predictor,
                grid,
                [*maps.values()],
                predictor.batch_size,
                on_tiles,
                heads=predictor.heads,
                unit=1 if small else UNIT,
                memory=work.memory // 4 * 3,
            )
    return {**maps}
