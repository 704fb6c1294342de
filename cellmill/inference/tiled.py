"""Tiled prediction as a stream: read a batch of tiles, predict, blend, write finished rows.

What is held at once is one batch of tiles and one row of tiles' height of each output, so memory
grows with the image's width, never with its height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.tiles import OUTSIDE, TileGrid

#: `(N, tile_y, tile_x, C)` float32 → one `(N, tile_y, tile_x, channels)` array per head.
PredictBatch = Callable[[np.ndarray], Sequence[np.ndarray]]


def predict_tiled(
    image: np.ndarray,
    predict_batch: PredictBatch,
    grid: TileGrid,
    outputs: Sequence[np.ndarray],
    batch_size: int = 8,
    on_tiles: Callable[[int], None] | None = None,
) -> None:
    """Predict an image tile by tile into arrays that may lie on disk.

    Tiles come in raster order and the last batch has what is left of them (it is not filled up).
    Overlaps are added in float64 with the grid's weights, which are not renormalised; where the
    grid does not blend, the later tile overwrites.

    Args:
        image: `(Y, X, C)` array or memory map; only windows of it are read.
        predict_batch: the network; its outputs are in the order of `outputs`.
        grid: the tiles over `image`.
        outputs: one writable `(Y, X, channels)` array or memory map per head; filled in their own
            dtype, whole rows at a time, top to bottom.
        batch_size: tiles per call of the network, at least 1.
        on_tiles: called after every batch with the number of its tiles.

    Raises:
        BadInput: the batch size is below 1, an output's shape is not the image's, or the network
            gives other arrays than `outputs` asks for.
    """
    if batch_size < 1:
        raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
    if image.shape[:2] != grid.shape:
        raise BadInput("image", expected=f"(Y, X) = {grid.shape}", found=f"{image.shape[:2]}")
    for array in outputs:
        if array.ndim != 3 or array.shape[:2] != grid.shape:
            raise BadInput("output", expected=f"(Y, X) = {grid.shape}", found=f"{array.shape}")
    bands = [_Band(grid, array) for array in outputs]
    positions = grid.positions()
    while batch := list(islice(positions, batch_size)):
        tiles = np.stack([read_tile(image, grid, *position) for position in batch])
        predicted = _checked(predict_batch(tiles), outputs, tiles.shape[:3])
        for index, (row, column) in enumerate(batch):
            for band, head in zip(bands, predicted, strict=True):
                band.add(head[index], row, column)
        if on_tiles:
            on_tiles(len(batch))


def read_tile(image: np.ndarray, grid: TileGrid, row: int, column: int) -> np.ndarray:
    """Read one tile, with what the grid puts beyond the image's border.

    Args:
        image: `(Y, X, C)`; one window of it is read.
        grid: the tiles over `image`.
        row: the tile's row in the grid.
        column: the tile's column in the grid.

    Returns:
        `(tile_y, tile_x, C)` float32.
    """
    ys, xs = grid.rows.source(row), grid.columns.source(column)
    inside_y, inside_x = ys[ys != OUTSIDE], xs[xs != OUTSIDE]
    tile = np.zeros((*grid.tile, image.shape[2]), np.float32)
    if inside_y.size and inside_x.size:
        y0, x0 = inside_y.min(), inside_x.min()
        window = np.asarray(image[y0 : inside_y.max() + 1, x0 : inside_x.max() + 1])
        if window.shape[:2] == grid.tile and ys[0] == y0 and xs[0] == x0:
            return window.astype(np.float32)
        target = np.ix_(np.flatnonzero(ys != OUTSIDE), np.flatnonzero(xs != OUTSIDE))
        tile[target] = window[np.ix_(inside_y - y0, inside_x - x0)]
    return tile


class _Band:
    """The rows of one output that tiles still add to, `(tile_y, extended X, channels)` float64."""

    def __init__(self, grid: TileGrid, output: np.ndarray) -> None:
        self.grid = grid
        self.output = output
        self.rows = np.zeros((grid.rows.tile, grid.columns.extended, output.shape[2]))

    def add(self, tile: np.ndarray, row: int, column: int) -> None:
        """Blend one tile in; the last tile of a row of tiles completes its rows."""
        x = self.grid.columns.start(column)
        window = self.rows[:, x : x + self.grid.columns.tile]
        if self.grid.blended:
            window += tile * self.grid.weights(row, column)[..., None]
        else:
            window[...] = tile
        if column == self.grid.columns.count - 1:
            self._write(row)

    def _write(self, row: int) -> None:
        """Write the rows that no later tile reaches, and move the rest up."""
        rows, columns = self.grid.rows, self.grid.columns
        last = row == rows.count - 1
        finished = rows.tile if last else rows.stride
        top = rows.start(row) - rows.before
        y0, y1 = max(top, 0), min(top + finished, rows.size)
        if y0 < y1:
            x0 = columns.before
            self.output[y0:y1] = self.rows[y0 - top : y1 - top, x0 : x0 + columns.size]
        shared = rows.tile - finished
        self.rows[:shared] = self.rows[finished:].copy()
        self.rows[shared:] = 0


def _checked(
    predicted: Sequence[np.ndarray], outputs: Sequence[np.ndarray], leading: tuple[int, ...]
) -> list[np.ndarray]:
    """Hold what the network gave against what is expected of it."""
    arrays = [np.asarray(array) for array in predicted]
    expected = [(*leading, output.shape[2]) for output in outputs]
    found = [array.shape for array in arrays]
    if found != expected:
        raise BadInput("model outputs", expected=f"shapes {expected}", found=f"{found}")
    return arrays
