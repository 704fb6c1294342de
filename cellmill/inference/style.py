"""An image's style: the mean of its tiles' styles, as Cellpose takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, product

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.inference.tiled import read_tile
from cellmill.inference.tiles import TileGrid


def image_style(
    parts: Sequence[tuple[Windowed, TileGrid]],
    predict_batch: Callable[[np.ndarray], list[np.ndarray]],
    batch_size: int = 8,
) -> np.ndarray:
    """Add the styles of an image's tiles, and bring the sum to length 1.

    Args:
        parts: of the image, `(Y, X, C)` each, as the network is shown them, and their tiles; a tile
            is read at a time.
        predict_batch: gives the styles of tiles `(N, tile_y, tile_x, C)`, `(N, 1, 1, values)`.
        batch_size: tiles at once.

    Returns:
        `(values,)` float32.
    """
    styles = []
    for image, grid in parts:
        places = product(range(grid.rows.count), range(grid.columns.count))
        while some := list(islice(places, batch_size)):
            tiles = np.stack([read_tile(image, grid, row, column) for row, column in some])
            styles.append(predict_batch(tiles)[0][:, 0, 0])
    total: np.ndarray = np.concatenate(styles).sum(axis=0)
    return total / (total**2).sum() ** 0.5
