"""A generator over a volume of any size, block by block, with the values of the whole volume.

Blocks lie on a grid that is fixed to the volume's origin; their side is a multiple of the network's
alignment. A block is read with the network's halo around it, mirrored where the volume ends. Each
of its planes is fed as a tile, and planes across three axes are averaged; a network that sees
volumes is fed the block. Values are clipped, then rounded. Since the network pads nothing, no value
depends on where blocks end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellmill.arrays.indexing import reflected
from cellmill.arrays.mean_pyramid import unit_of
from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.errors import BadInput
from cellmill.models.card import Head, ModelCard

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger

Slices = tuple[slice, slice, slice]
PredictTiles = Callable[[np.ndarray], Sequence[np.ndarray]]
"""`(N, n, n, 1)` float32 grey values → one array `(N, n - 2 halo, n - 2 halo, 1)`; of a network
that sees volumes `(1, m, n, n, 1)` → `(1, m - 2 halo_z, n - 2 halo, n - 2 halo, 1)`."""

VOLUME = "volume"
"""In place of axes across which planes are cut, for a network that sees volumes."""

_AXES = {"z": (0,), "y": (1,), "x": (2,), "zyx": (0, 1, 2), VOLUME: ()}
_PLANES = tuple(planes for planes in _AXES if planes != VOLUME)


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of a volume.

    Args:
        shape: of the volume, `(Z, Y, X)`.
        side: of a block.
        halo: voxels that are read around a block along the axes of its planes.
        planes: across which axes planes are cut, or `VOLUME`.
        alignment: of the network.
        halo_z: of a network that sees volumes the halo along z.
        depth: of a network that sees volumes sections that a block is read as, without the halo; 0
            is its side.

    Raises:
        BadInput: the side is no multiple of the alignment, or planes are not said.
    """

    shape: tuple[int, int, int]
    side: int
    halo: int
    planes: str
    alignment: int
    halo_z: int = 0
    depth: int = 0

    def __post_init__(self) -> None:
        if self.side < 1 or self.side % self.alignment:
            expected = f"a multiple of {self.alignment}"
            raise BadInput("block", expected=expected, found=f"{self.side}")
        if self.planes not in _AXES:
            expected = ", ".join(_PLANES)
            raise BadInput("planes", expected=f"one of {expected}", found=f"'{self.planes}'")

    @property
    def sees_volumes(self) -> bool:
        """Whether blocks are fed whole."""
        return self.planes == VOLUME

    @property
    def axes(self) -> tuple[int, ...]:
        """Numbers of the axes across which planes are cut."""
        return _AXES[self.planes]

    @property
    def halos(self) -> tuple[int, ...]:
        """Voxels that are read at each side of a block, an axis each."""
        if self.sees_volumes:
            return self.halo_z, self.halo, self.halo
        return tuple(0 if self.axes == (axis,) else self.halo for axis in range(3))

    @property
    def blocks(self) -> tuple[Slices, ...]:
        """In raster order; those at the volume's end are shorter."""
        z, y, x = self._cuts()
        return tuple(itertools.product(z, y, x))

    def _cuts(self) -> list[list[slice]]:
        """Where blocks lie, an axis each."""
        return [
            [slice(a, min(a + self.side, n)) for a in range(0, n, self.side)] for n in self.shape
        ]

    def read(self, block: Slices) -> Slices:
        """What is read for a block, within the volume."""
        places = itertools.starmap(self._places, enumerate(block))
        z, y, x = (slice(int(each.min()), int(each.max()) + 1) for each in places)
        return z, y, x

    def amplification(self) -> float:
        """Voxels that are read for each that is made."""
        read = math.prod(
            sum(int(np.ptp(self._places(axis, cut))) + 1 for cut in cuts)
            for axis, cuts in enumerate(self._cuts())
        )
        return read / math.prod(self.shape)

    def fed(self) -> int:
        """Voxels that the network is fed for each axis of planes, mirrored ones counted."""
        numbers = (len(cuts) for cuts in self._cuts())
        return math.prod(
            number * (side + 2 * halo) if halo else n
            for number, side, halo, n in zip(
                numbers, self._sides, self.halos, self.shape, strict=True
            )
        )

    @property
    def _sides(self) -> tuple[int, int, int]:
        """What a block is read as, without the halo, where it has one."""
        return self.depth or self.side, self.side, self.side

    def _places(self, axis: int, part: slice) -> np.ndarray:
        """Where a block with its halo is read along an axis, mirrored at the ends.

        Across the only axis of planes no more is read than there is; along the others a tile's
        whole side.
        """
        halo = self.halos[axis]
        stop = part.start + self._sides[axis] if halo else part.stop
        return reflected(np.arange(part.start - halo, stop + halo), self.shape[axis])

    def box(self, volume: Windowed, block: Slices) -> tuple[np.ndarray, int]:
        """Read a block with its halo.

        Returns:
            The values, and how many voxels were read for them.
        """
        read = self.read(block)
        values = np.asarray(volume[read])
        places = [
            self._places(axis, part) - within.start
            for axis, (part, within) in enumerate(zip(block, read, strict=True))
        ]
        if all(
            p[0] == 0 and len(p) == n and p[-1] == n - 1
            for p, n in zip(places, values.shape, strict=True)
        ):
            return values, values.size
        return values[np.ix_(*places)], values.size


@dataclass(frozen=True)
class Applied:
    """What applying a network to a volume came to.

    Args:
        blocks: that were made.
        resumed: that were there already.
        empty: that the mask leaves as they are.
        voxels: of all blocks that were made.
        voxels_read: of the volume, for them.
    """

    blocks: int
    resumed: int
    empty: int
    voxels: int
    voxels_read: int

    @property
    def read_amplification(self) -> float:
        """Voxels read for each that was made."""
        return self.voxels_read / max(self.voxels, 1)


def grid_for(
    card: ModelCard, shape: Sequence[int], block: int = 0, planes: str = ""
) -> tuple[BlockGrid, ModelCard]:
    """The blocks for a network over a volume, and its card with tiles of that size.

    Args:
        card: of a network with one head, an image.
        shape: of the volume.
        block: side of a block; 0 is what the card's tile gives, or the side down to half of it
            with which the network is fed least.
        planes: across which axes planes are fed; empty is what the card says.

    Raises:
        BadInput: the network makes no images, or blocks or planes are none that it can take.
    """
    head, volumes = image_head(card), card.input.sees_volumes
    if planes and volumes:
        raise BadInput("planes", expected="none with a network of volumes", found=f"'{planes}'")
    side = block or card.input.tile[-1] - 2 * head.margin
    alignment = math.lcm(card.tiling.alignment, head.stride)
    # A volume that is smaller than a block takes a smaller one.
    longest = -(-max(shape) // alignment) * alignment
    side = side if side % alignment else min(side, longest)
    along = math.lcm(card.tiling.alignments(3)[0], head.stride_z)
    # Sides of a card's tile are 8 at least.
    depth = -(-max(shape[0], 8 - 2 * head.margin_z) // along) * along

    def grid_of(side: int) -> BlockGrid:
        return BlockGrid(
            (int(shape[0]), int(shape[1]), int(shape[2])),
            side,
            head.margin,
            VOLUME if volumes else planes or card.input.planes,
            alignment,
            head.margin_z,
            min(side, depth) if volumes else 0,
        )

    grid = grid_of(side)
    if not block:
        smaller = range(side - alignment, side // 2, -alignment)
        grid = min([grid, *map(grid_of, smaller)], key=BlockGrid.fed)
    tile = (grid.depth + 2 * head.margin_z, *[grid.side + 2 * head.margin] * 2)
    tile = tile if volumes else tile[1:]
    return grid, replace(card, input=replace(card.input, tile=tile))


def image_head(card: ModelCard) -> Head:
    """The head of a network that makes an image of one channel from one.

    Raises:
        BadInput: it is another.
    """
    heads = [head for head in card.heads if head.kind == "image"]
    if len(card.heads) != 1 or not heads or len(card.input.channels) != 1:
        found = ", ".join(head.kind for head in card.heads) or "no network"
        raise BadInput(f"model '{card.name}'", expected="a network that makes images", found=found)
    return heads[0]


def transfer_block(
    box: np.ndarray, grid: BlockGrid, sides: Sequence[int], predict: PredictTiles, batch_size: int
) -> np.ndarray:
    """Make one block.

    Args:
        box: the block with its halo, as `BlockGrid.box` gives it.
        grid: the blocks.
        sides: of the block.
        predict: the network.
        batch_size: planes a call; the last call is filled up, so that no result depends on it. A
            network that sees volumes is called with the block alone.

    Returns:
        uint8 of those sides.
    """
    if grid.sees_volumes:
        (grey,) = predict(box[np.newaxis, ..., np.newaxis].astype(np.float32))
        own = tuple(slice(side) for side in sides)
        return np.rint(np.clip(grey[0, ..., 0][own], 0, 255)).astype(np.uint8)
    total = np.zeros(sides, np.float32)
    for axis in grid.axes:
        planes = np.moveaxis(box, axis, 0)[grid.halos[axis] :][: sides[axis]]
        made = np.moveaxis(total, axis, 0)
        rows, columns = made.shape[1:]
        for start in range(0, len(planes), batch_size):
            some = planes[start : start + batch_size]
            tiles = np.zeros((batch_size, *some.shape[1:], 1), np.float32)
            tiles[: len(some), ..., 0] = some
            (grey,) = predict(tiles)
            made[start : start + len(some)] += grey[: len(some), :rows, :columns, 0]
    total /= np.float32(len(grid.axes))
    return np.rint(np.clip(total, 0, 255)).astype(np.uint8)


def transfer_volume(
    volume: Windowed,
    out: WritableWindowed,
    grid: BlockGrid,
    predict: PredictTiles,
    *,
    blocks: Sequence[Slices] | None = None,
    mask: Windowed | None = None,
    ledger: Ledger | None = None,
    batch_size: int = 8,
    on_block: Callable[[Slices], None] | None = None,
) -> Applied:
    """Apply a network to a volume, or to some of its blocks.

    What is held is a block with its halo, its sums, and a batch of planes.

    Args:
        volume: `(Z, Y, X)` uint8.
        out: of the same shape, uint8; filled.
        grid: the blocks.
        predict: the network, with tiles of the grid's side and halo.
        blocks: which of the grid's; None is all.
        mask: `(Z, Y, X)`, zero where the volume's own values are kept (its background).
        ledger: marks of blocks that are in `out` already.
        batch_size: planes a call.
        on_block: called with each block that is in `out` and marked, those too that were before.

    Raises:
        BadInput: shapes differ, or a volume cannot be read or written.
    """
    for what, array in (("volume", volume), ("output", out), ("mask", mask)):
        if array is not None and tuple(array.shape) != grid.shape:
            raise BadInput(what, expected=f"shape {grid.shape}", found=f"{tuple(array.shape)}")
    marked = ledger.done() if ledger is not None else set()
    made = resumed = empty = voxels = voxels_read = 0
    for block in grid.blocks if blocks is None else blocks:
        unit = unit_of([part.start for part in block])
        if unit in marked:
            resumed += 1
        else:
            kept = None if mask is None else np.asarray(mask[block]) == 0
            if kept is not None and kept.all():
                empty += 1
                out[block] = np.asarray(volume[block])
            else:
                box, count = grid.box(volume, block)
                sides = [part.stop - part.start for part in block]
                values = transfer_block(box, grid, sides, predict, batch_size)
                if kept is not None:
                    own = tuple(slice(h, h + n) for h, n in zip(grid.halos, sides, strict=True))
                    values[kept] = box[own][kept]
                out[block] = values
                made, voxels, voxels_read = made + 1, voxels + values.size, voxels_read + count
            if ledger is not None:
                ledger.mark(unit)
        if on_block:
            on_block(block)
    return Applied(made, resumed, empty, voxels, voxels_read)


def shard_of(blocks: Sequence[Slices], shard: int, shards: int) -> Sequence[Slices]:
    """The blocks of one task of several: neighbours, as many as the other tasks have.

    Raises:
        BadInput: there is no such shard.
    """
    if shards < 1 or not 0 <= shard < shards:
        raise BadInput("shard", expected=f"0 to {shards - 1}", found=f"{shard}")
    return blocks[len(blocks) * shard // shards : len(blocks) * (shard + 1) // shards]
