"""Running a network that sees volumes over one of any size, block by block.

Blocks are laid so that nothing of the network's sight is lost: the first begins where the volume
does and the last ends where it does (mirrored up to what the network pools), and two neighbours are
cut in the middle of what they share. So where they share twice what the network reads around a
voxel, what comes out is what the whole volume at once would give, as far as sums are rounded alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellmill.arrays.indexing import reflected, round_up
from cellmill.arrays.windows import Windowed, WritableWindowed
from cellmill.compute.parts import Parts
from cellmill.errors import BadInput
from cellmill.inference.network import NETWORK
from cellmill.models.card import Head, ModelCard

#: A tile of a network of planes has so many pixels: as many voxels are predicted at once.
_PLANAR_TILE = 256 * 256
#: No side of a block is smaller, as cards ask.
_LEAST_SIDE = 8


@dataclass(frozen=True)
class BlockAxis:
    """The blocks along one axis.

    Args:
        size: voxels of the volume along the axis.
        side: of a block.
        starts: where each block begins.
        cuts: block `i` gives the voxels from `cuts[i]` to `cuts[i + 1]`.
    """

    size: int
    side: int
    starts: tuple[int, ...]
    cuts: tuple[int, ...]

    @classmethod
    def over(cls, size: int, side: int, overlap: int, alignment: int) -> BlockAxis:
        """Lay blocks over an axis.

        Args:
            size: voxels of the volume.
            side: of a block, a multiple of the alignment.
            overlap: what neighbours share at least, voxels, half of the side at most.
            alignment: blocks begin, and are cut, at multiples of it.
        """
        padded = max(round_up(size, alignment), side)
        half = round_up(math.ceil(overlap / 2), alignment)
        step = max(side - 2 * half, alignment)
        starts = [*range(0, padded - side, step), padded - side]
        middles = [
            later + (earlier + side - later) // 2 // alignment * alignment
            for earlier, later in itertools.pairwise(starts)
        ]
        return cls(size, side, tuple(starts), (0, *middles, padded))

    def source(self, index: int) -> np.ndarray:
        """The volume's voxel behind each of a block's, mirrored beyond the end; `(side,)`."""
        return reflected(np.arange(self.side) + self.starts[index], self.size)

    def inner(self, index: int, stride: int) -> tuple[slice, slice]:
        """Which values of a head a block gives: of the whole, and of the block's own."""
        stop = -(-min(self.cuts[index + 1], self.size) // stride)
        start = min(self.cuts[index] // stride, stop)
        first = self.starts[index] // stride
        return slice(start, stop), slice(start - first, stop - first)


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of a volume, in raster order.

    Args:
        axes: along Z, Y and X.
    """

    axes: tuple[BlockAxis, BlockAxis, BlockAxis]

    @classmethod
    def over(cls, card: ModelCard, shape: tuple[int, ...]) -> BlockGrid:
        """The blocks that a card asks for over a volume `(Z, Y, X)`.

        Raises:
            BadInput: the network sees no volumes, or gives nothing for a margin of its blocks.
        """
        if not card.input.sees_volumes:
            raise BadInput(
                f"model '{card.name}'", expected="a network that sees volumes", found="planes"
            )
        alignment = _alignment(card)
        z, y, x = (
            BlockAxis.over(size, side, round(card.tiling.overlap * side), alignment)
            for size, side in zip(shape, card.input.tile, strict=True)
        )
        return cls((z, y, x))

    def __len__(self) -> int:
        return math.prod(len(axis.starts) for axis in self.axes)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Each block's place along Z, Y and X, in raster order."""
        z, y, x = (range(len(axis.starts)) for axis in self.axes)
        yield from itertools.product(z, y, x)

    def read(self, volume: Windowed, place: tuple[int, int, int]) -> np.ndarray:
        """Read a block of a volume `(Z, Y, X, C)`; float32 `(z, y, x, C)`."""
        sources = [axis.source(at) for axis, at in zip(self.axes, place, strict=True)]
        window = tuple(slice(int(s.min()), int(s.max()) + 1) for s in sources)
        found = np.asarray(volume[window], np.float32)
        shown = np.ix_(*(s - part.start for s, part in zip(sources, window, strict=True)))
        return np.ascontiguousarray(found[shown])


def fitted(card: ModelCard, shape: tuple[int, ...]) -> ModelCard:
    """The card with blocks no larger than a volume `(Z, Y, X)` asks for.

    A thin volume is one block high, and nothing beyond it is computed.
    """
    alignment = _alignment(card)
    sides = (max(round_up(size, alignment), round_up(_LEAST_SIDE, alignment)) for size in shape)
    tile = tuple(min(side, own) for side, own in zip(sides, card.input.tile, strict=True))
    return with_tile(card, tile)


def with_tile(card: ModelCard, tile: tuple[int, ...]) -> ModelCard:
    """The card with tiles of other sides."""
    return card if tile == card.input.tile else replace(card, input=replace(card.input, tile=tile))


def blocks_at_once(card: ModelCard, batch_size: int) -> int:
    """How many blocks hold as many voxels as a batch of tiles of planes has pixels; 1 at least."""
    return max(batch_size * _PLANAR_TILE // math.prod(card.input.tile), 1)


def predict_volume(
    volume: Windowed,
    predict_batch: Callable[[np.ndarray], Sequence[np.ndarray]],
    grid: BlockGrid,
    outputs: Sequence[WritableWindowed],
    heads: Sequence[Head],
    batch_size: int = 1,
    on_blocks: Callable[[int], None] | None = None,
    parts: Parts | None = None,
) -> None:
    """Predict a volume block by block into arrays that may lie on disk.

    What is held is a batch of blocks and what the network makes of them.

    Args:
        volume: `(Z, Y, X, C)`; only blocks of it are read.
        predict_batch: `(N, z, y, x, C)` float32 → one array per head.
        grid: the blocks.
        outputs: one writable `(Z / stride_z, Y / stride, X / stride, channels)` array per head, its
            sides rounded up.
        heads: what the card says of the outputs, in their order.
        batch_size: blocks per call of the network.
        on_blocks: called with a number of blocks that are done.
        parts: has afterwards what each of `read`, `network` and `write` took.

    Raises:
        BadInput: the volume is not the grid's, or the network gives other arrays than asked for.
    """
    shape = tuple(axis.size for axis in grid.axes)
    if tuple(volume.shape[:3]) != shape:
        raise BadInput("volume", expected=f"(Z, Y, X) = {shape}", found=f"{volume.shape[:3]}")
    sides = tuple(axis.side for axis in grid.axes)
    places, parts = grid.places(), parts or Parts(NETWORK)
    while batch := list(itertools.islice(places, batch_size)):
        with parts.part("read"):
            blocks = np.stack([grid.read(volume, place) for place in batch])
        with parts.part(NETWORK):
            found = predict_batch(blocks)
        expected = [(len(batch), *head.shape_over(sides)) for head in heads]
        given = [tuple(array.shape) for array in found]
        if given != expected:
            raise BadInput("model outputs", expected=f"shapes {expected}", found=f"{given}")
        with parts.part("write"):
            for head, values, output in zip(heads, found, outputs, strict=True):
                for block, place in zip(values, batch, strict=True):
                    _put(grid, head, place, block, output)
        if on_blocks:
            on_blocks(len(batch))


def _put(
    grid: BlockGrid,
    head: Head,
    place: tuple[int, int, int],
    block: np.ndarray,
    output: WritableWindowed,
) -> None:
    """Write what a block gives of a head."""
    parts = [
        axis.inner(at, step)
        for axis, at, step in zip(grid.axes, place, head.strides(3), strict=True)
    ]
    whole, own = zip(*parts, strict=True)
    if all(part.stop > part.start for part in whole):
        output[whole] = block[own]


def _alignment(card: ModelCard) -> int:
    """At multiples of which blocks begin along every axis."""
    if any(head.margin or head.margin_z for head in card.heads):
        expected = "a network without a margin (transfer_style applies those that make images)"
        found = ", ".join(f"{head.margins(3)}" for head in card.heads)
        raise BadInput(f"model '{card.name}'", expected=expected, found=found)
    return math.lcm(card.alignment, *card.tiling.alignments(3))
