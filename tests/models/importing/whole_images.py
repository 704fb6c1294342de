"""Heads of whole images, held against what a framework's own code made of them."""

from pathlib import Path

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.inference.engines import load_network
from cellmill.inference.tiled import card_grid, predict_tiled
from cellmill.models.card import ModelCard


def check_whole_images(model: Path, wholes: Path, engine: str) -> None:
    """Predict images, each by windows, and compare with their heads to 1e-5.

    Args:
        model: its folder.
        wholes: `.npz` of arrays `image …` `(Y, X, C)` and `heads …` `(Y, X, 3)`.
        engine: that runs the network.
    """
    card = ModelCard.load(model)
    network = load_network(model, card, engine=engine, device="cpu")
    with np.load(wholes) as held:
        names = [name for name in held if name.startswith("image")]
        assert names
        for name in names:
            image, wanted = held[name], held[name.replace("image", "heads")]
            outputs = [np.full((*image.shape[:2], n), np.nan, np.float32) for n in (2, 1)]
            grid = card_grid(card, image.shape[:2])
            height, width = image.shape[:2]
            y, x = height // 3, width // 3
            windows = (Box(0, y, 0, width), Box(y, height, 0, x), Box(y, height, x, width))
            for window in windows:
                predict_tiled(image, network, grid, outputs, heads=card.heads, window=window)
            found = np.concatenate(outputs, -1)
            assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())
