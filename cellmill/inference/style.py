"""An image's style: the mean of its tiles' styles, as Cellpose takes it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, product

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.inference.tiled import read_tile
from cellmill.inference.tiles import TileGrid


def image_style(
    image: Windowed,
    predict_batch: Callable[[np.ndarray], list[np.ndarray]],
    grid: TileGrid,
    batch_size: int = 8,
) -> np.ndarray:
    """Add the styles of an image's tiles, and bring the sum to length 1.

    Args:
        image: `(Y, X, C)`, as the network is shown it; a tile is read at a time.
        predict_batch: gives the styles of tiles `(N, tile_y, tile_x, C)`, `(N, 1, 1, values)`.
        grid: the tiles.
        batch_size: tiles at once.

    Returns:
        `(values,)` float32.
    """
    places = product(range(grid.rows.count), range(grid.columns.count))
    styles = []
    while some := list(islice(places, batch_size)):
        tiles = np.stack([read_tile(image, grid, row, column) for row, column in some])
        styles.append(predict_batch(tiles)[0][:, 0, 0])
    total: np.ndarray = np.concatenate(styles).sum(axis=0)
    return total / (total**2).sum() ** 0.5
