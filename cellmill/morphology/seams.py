"""What tiles of a flood know of each other's outermost pixels, settled until all agree."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cellmill.arrays.windows import Grid, opposite
from cellmill.compute.threads import in_threads


class Face(NamedTuple):
    """Keys and labels of the pixels along one side of a tile; both 0 where no flood came.

    Attributes:
        keys: uint64, as many axes as the image has; one pixel along the side's.
        labels: integers, same shape.
    """

    keys: np.ndarray
    labels: np.ndarray

    @classmethod
    def dry(cls, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Face:
        """One that no flood reached, labels of a dtype."""
        return cls(np.zeros(shape, np.uint64), np.zeros(shape, dtype))

    def digest(self) -> bytes:
        """Equal for equal faces, of whatever integer type the labels are."""
        content = hashlib.blake2b(self.labels.astype(np.int64).tobytes(), digest_size=16)
        content.update(self.keys.astype(np.uint64).tobytes())
        return content.digest()


class Flooded(NamedTuple):
    """What a tile's flood gave.

    Attributes:
        inside: the outermost pixels along each side.
        belief: digests of the pixels just outside, as the flood took or found them; of those sides
            only on which it hung.
        empty: nothing was there to be flooded.
    """

    inside: Mapping[int, Face]
    belief: Mapping[int, bytes]
    empty: bool = False


class Floods(Protocol):
    """What the floods of tiles gave: a dictionary, or what keeps them elsewhere."""

    def __iter__(self) -> Iterator[int]: ...

    def __getitem__(self, tile: int, /) -> Flooded: ...

    def __setitem__(self, tile: int, flooded: Flooded, /) -> None: ...


def exchange(
    grid: Grid,
    flooded: Floods,
    again: Callable[[int, dict[int, Face]], Flooded],
    shuffled: random.Random | None = None,
    threads: int | None = None,
    at_once: int | None = None,
) -> int:
    """Flood those tiles again that believe wrong of a neighbour, until none is left.

    Args:
        grid: the tiles.
        flooded: what the tiles' floods gave; replaced as they are made again. It is read when it is
            needed and need not be held.
        again: floods a tile from its neighbours' outermost pixels, by side.
        shuffled: see `flood_tiles`.
        threads: how many tiles at once; `None` is as many as there are threads.
        at_once: of so many what was found is held until all of them are done; `None` is all.

    Returns:
        How many floods were made again.
    """

    def repeat(tile: int) -> Flooded:
        neighbours = grid.neighbours(tile)
        return again(
            tile, {side: flooded[other].inside[opposite(side)] for side, other in neighbours}
        )

    known: dict[int, dict[int, bytes]] = {}
    believed: dict[int, Mapping[int, bytes]] = {}

    def note(tile: int, found: Flooded) -> None:
        known[tile] = {side: face.digest() for side, face in found.inside.items()}
        believed[tile] = found.belief

    def believes_wrong(tile: int) -> bool:
        belief = believed[tile]
        return any(
            side in belief and belief[side] != known[other][opposite(side)]
            for side, other in grid.neighbours(tile)
        )

    for tile in flooded:
        note(tile, flooded[tile])
    wrong = {tile for tile in known if believes_wrong(tile)}
    repeated = 0
    while wrong:
        now = sorted(wrong)[:at_once]
        if shuffled:
            now = shuffled.sample(now, shuffled.randint(1, len(now)))
        repeated += len(now)
        touched = set(now)
        for tile, result in zip(now, in_threads(repeat, now, threads), strict=True):
            flooded[tile] = result
            note(tile, result)
            touched.update(other for _, other in grid.neighbours(tile))
        for tile in touched:
            wrong.discard(tile)
            if believes_wrong(tile):
                wrong.add(tile)
    return repeated
