"""Tiled prediction as a stream: read a batch of tiles, predict, blend, write finished blocks.

Three threads work side by side: one reads the next batch, the caller's runs the network, one blends
and writes. What is held is a few batches of tiles and, per column of the window, one row of tiles'
height and one block of each output; a window too wide for the memory is cut into strips.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from cellmill.arrays.indexing import OUTSIDE
from cellmill.arrays.windows import Box, Windowed, WritableWindowed
from cellmill.compute.parts import Parts
from cellmill.errors import BadInput
from cellmill.inference.bands import Band, Target
from cellmill.inference.network import NETWORK
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import Head, ModelCard, Placement
from cellmill.models.chosen import check_sees_planes

#: `(N, tile_y, tile_x, C)` float32 → one `(N, tile_y / stride, tile_x / stride, channels)` array
#: per head.
PredictBatch = Callable[[np.ndarray], Sequence[np.ndarray]]

#: The stride and placement of an output of which nothing is said.
_PLAIN: tuple[int, Placement] = (1, "blended")
#: A tile of so few values, looked at here and there, may be one that was predicted before.
_FEW_LEVELS = 4
_SAMPLED = 16
#: So many predictions of such tiles are kept.
_KEPT = 16
#: Tiles that are handed on at once at most, however many of them need no prediction.
_MOST_AT_ONCE = 256


def card_grid(card: ModelCard, shape: tuple[int, ...]) -> TileGrid:
    """The tiles that a model's card asks for, over an image of shape `(Y, X)` at its scale.

    Raises:
        BadInput: the network sees volumes.
    """
    check_sees_planes(card)
    rows, columns = card.input.tile
    return TileGrid.over(
        shape,
        (rows, columns),
        overlap=card.tiling.overlap,
        padding=card.tiling.padding,
        alignment=math.lcm(card.alignment, card.tiling.alignment),
        margin=card.tiling.margin,
        fitted=card.tiling.fitted,
        layout=card.tiling.layout,
    )


def predict_tiled(
    image: Windowed,
    predict_batch: PredictBatch,
    grid: TileGrid,
    outputs: Sequence[WritableWindowed],
    batch_size: int = 8,
    on_tiles: Callable[[int], None] | None = None,
    *,
    heads: Sequence[Head] = (),
    window: Box | None = None,
    unit: int = 1,
    memory: int = 1 << 30,
    parts: Parts | None = None,
) -> int:
    """Predict an image, or a window of it, tile by tile into arrays that may lie on disk.

    Tiles come in raster order. Overlaps are added in float64 with the grid's weights, which are
    not renormalised; where the grid does not blend, the later tile overwrites. Of a head whose
    placement is `cropped` each tile gives its inner part alone. Every batch of an image has the
    same number of tiles, the last filled up with a repeated one, because a network's last bits may
    depend on that number: so a window's pixels are, to the bit, those of the whole image, whatever
    the windows.

    A tile that equals an earlier one to the byte is not predicted again, if it is one of few
    values (an empty part of a slide).

    Args:
        image: `(Y, X, C)`; only windows of it are read.
        predict_batch: the network; its outputs are in the order of `outputs`. A tile's prediction
            must not depend on the other tiles of its batch.
        grid: the tiles over `image`, aligned to the strides of the heads.
        outputs: one writable `(Y / stride, X / stride, channels)` array per head, its sides rounded
            up; filled in their own dtype.
        batch_size: tiles per call of the network, at least 1.
        on_tiles: called with a number of tiles that are done.
        heads: what the card says of the outputs, in their order; empty if all have stride 1 and
            are blended. Those of larger strides are written after the others.
        window: the pixels to predict; `None` is the whole image. Only the tiles that reach it are
            read and predicted, and only its pixels are written: of a head with a stride the values
            that are at pixels of the window.
        unit: side of an output's storage unit, in its own values: what is written ends at multiples
            of it, so that no unit is written twice if the window is aligned too.
        memory: bytes that blending may hold; a wider window is cut into strips, whose tiles at the
            cuts are predicted twice.
        parts: has afterwards what reading (with what is put beyond the border), network, blending
            and writing took, as `read`, `network`, `blend` and `write`.

    Returns:
        How many tiles were not predicted because they equal another.

    Raises:
        BadInput: the batch size is below 1, an output's shape is not the image's, the window lies
            outside, or the network gives other arrays than `outputs` asks for.
    """
    if batch_size < 1:
        raise BadInput("batch_size", expected="at least 1", found=f"{batch_size}")
    if tuple(image.shape[:2]) != grid.shape:
        raise BadInput("image", expected=f"(Y, X) = {grid.shape}", found=f"{image.shape[:2]}")
    layouts = [(head.stride, head.placement) for head in heads] or [_PLAIN] * len(outputs)
    targets = [
        Target(array, grid.strided(stride), stride, placement)
        for array, (stride, placement) in zip(outputs, layouts, strict=True)
    ]
    whole = Box(0, grid.shape[0], 0, grid.shape[1])
    window = window or whole
    if window.common(whole) != window:
        raise BadInput("window", expected=f"within {grid.shape}", found=f"{window}")
    batch_size = even_batch(len(grid), batch_size)
    seen, parts = _Repeats(), parts or Parts(NETWORK)
    for strip in strips(window, grid, targets, unit, memory):
        _predict_strip(
            image, predict_batch, grid, targets, batch_size, on_tiles, strip, unit, seen, parts
        )
    return seen.count


def even_batch(tiles: int, batch_size: int) -> int:
    """Tiles per batch, at most `batch_size`, so that the batches of an image are about equal.

    It depends on the whole image only, so that every window of it has the same.
    """
    return math.ceil(tiles / math.ceil(tiles / batch_size))


def tiles_of(grid: TileGrid, window: Box) -> tuple[range, range]:
    """The rows and columns of the tiles that reach a window."""
    return (
        grid.rows.reaching(window.y0, window.y1),
        grid.columns.reaching(window.x0, window.x1),
    )


def strips(
    window: Box, grid: TileGrid, targets: Sequence[Target], unit: int, memory: int
) -> Iterator[Box]:
    """Cut a window into strips of full height whose blending fits the memory.

    They are cut where a storage unit of every output ends.
    """
    per_column = math.ceil(sum(target.bytes_per_column(unit) for target in targets))
    widest = max(memory // per_column - 2 * grid.columns.tile, grid.columns.tile)
    step = unit * math.lcm(*(target.stride for target in targets))
    widest = max(widest // step, 1) * step
    x = window.x0
    while x < window.x1:
        stop = min((x // step) * step + widest, window.x1)
        yield Box(window.y0, window.y1, x, stop)
        x = stop


def read_tile(image: Windowed, grid: TileGrid, row: int, column: int) -> np.ndarray:
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


@dataclass(frozen=True)
class _Batch:
    """Tiles to be predicted, and all those that they make known.

    Args:
        tiles: `(batch_size, tile_y, tile_x, C)`; `None` if all are known.
        items: row and column of each tile in raster order, its place in `tiles` (-1: known by its
            key) and its key (empty: it is predicted for itself alone).
    """

    tiles: np.ndarray | None
    items: list[tuple[int, int, int, bytes]]


class _Repeats:
    """Tiles of few values, by their bytes, and what was predicted for them."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: set[bytes] = set()
        self.predictions: dict[bytes, list[np.ndarray]] = {}

    def key(self, tile: np.ndarray) -> bytes:
        """A digest of a tile that may come again; empty for others."""
        sample = tile[::_SAMPLED, ::_SAMPLED]
        if len(np.unique(sample)) > _FEW_LEVELS * tile.shape[2]:
            return b""
        digest = hashlib.blake2b(tile.tobytes(), digest_size=20).digest()
        return digest if digest in self.keys or len(self.keys) < _KEPT else b""


def _predict_strip(
    image: Windowed,
    predict_batch: PredictBatch,
    grid: TileGrid,
    targets: Sequence[Target],
    batch_size: int,
    on_tiles: Callable[[int], None] | None,
    window: Box,
    unit: int,
    seen: _Repeats,
    parts: Parts,
) -> None:
    rows, columns = tiles_of(grid, window)
    bands = [Band(target, window, columns, unit, parts) for target in targets]
    # A unit of a large stride is the last to be written of all that it covers.
    order = sorted(range(len(bands)), key=lambda place: targets[place].stride)
    batches = _batches(image, grid, rows, columns, batch_size, seen)

    def read() -> _Batch | None:
        with parts.part("read"):
            return next(batches, None)

    def blend(batch: _Batch, predicted: list[np.ndarray]) -> None:
        with parts.part("blend"):
            add(batch, predicted)

    def add(batch: _Batch, predicted: list[np.ndarray]) -> None:
        for row, column, place, key in batch.items:
            if place >= 0:
                heads = [head[place] for head in predicted]
                if key:
                    seen.predictions[key] = [head.copy() for head in heads]
            else:
                heads = seen.predictions[key]
                seen.count += 1
            for number in order:
                bands[number].add(heads[number], row, column)

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        upcoming = reader.submit(read)
        written: Future[None] | None = None
        while (batch := upcoming.result()) is not None:
            upcoming = reader.submit(read)
            predicted: list[np.ndarray] = []
            if batch.tiles is not None:
                with parts.part(NETWORK):
                    found = predict_batch(batch.tiles)
                predicted = _checked(found, targets, len(batch.tiles))
            if written:
                written.result()
            written = writer.submit(blend, batch, predicted)
            if on_tiles:
                on_tiles(len(batch.items))
        if written:
            written.result()


def _batches(
    image: Windowed,
    grid: TileGrid,
    rows: range,
    columns: range,
    batch_size: int,
    seen: _Repeats,
) -> Iterator[_Batch]:
    positions = ((row, column) for row in rows for column in columns)
    while True:
        tiles: list[np.ndarray] = []
        items: list[tuple[int, int, int, bytes]] = []
        for row, column in islice(positions, _MOST_AT_ONCE):
            tile = read_tile(image, grid, row, column)
            key = seen.key(tile)
            if key and key in seen.keys:
                items.append((row, column, -1, key))
                continue
            if key:
                seen.keys.add(key)
            items.append((row, column, len(tiles), key))
            tiles.append(tile)
            if len(tiles) == batch_size:
                break
        if not items:
            return
        if tiles:
            tiles += [tiles[0]] * (batch_size - len(tiles))
        yield _Batch(np.stack(tiles) if tiles else None, items)


def _checked(
    predicted: Sequence[np.ndarray], targets: Sequence[Target], count: int
) -> list[np.ndarray]:
    """Hold what the network gave against what is expected of it."""
    arrays = [np.asarray(array) for array in predicted]
    expected = [(count, *target.grid.tile, target.array.shape[2]) for target in targets]
    found = [array.shape for array in arrays]
    if found != expected:
        raise BadInput("model outputs", expected=f"shapes {expected}", found=f"{found}")
    return arrays
