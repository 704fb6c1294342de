"""Reduced resolutions of a volume that several processes write, each block as soon as it can be.

A resolution is cut into blocks of one side, as the first is. Whoever writes the last of the blocks
that one of the next resolution covers makes that one too: it marks its own, then looks whether the
others are marked. So no process waits for another, and one that was killed and is started again
finds what it left undone.

A voxel is the mean of those that it covers, two along each axis that is halved, rounded to a whole
number, halves to the even one. It covers those of a grid through the origin of coordinates: the
first and the last may cover fewer than others, and their mean is of those that there are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorstore as ts

from cellmill.arrays.store import Ledger, refused
from cellmill.errors import BadInput

Triple = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

SMALLEST = 512
"""If nobody says how many there are, the last resolution is the first with no longer side."""

#: Voxels that are longer than the shortest by less than this are halved with it, which leaves them
#: closest to cubes.
_ALIKE = math.sqrt(2)


@dataclass(frozen=True)
class Resolution:
    """Where the voxels of a resolution lie.

    Args:
        factors: voxels of the first resolution that one covers, an axis each.
        origin: of the first of them, in voxels of this resolution.
        shape: how many there are.
    """

    factors: Triple
    origin: Triple
    shape: Triple


def resolutions(
    shape: Triple, origin: Triple, sizes: Sequence[float], levels: int = 0
) -> tuple[Resolution, ...]:
    """The resolutions of a volume, the finest first.

    Args:
        shape: of the volume, `(Z, Y, X)`.
        origin: where its first voxel lies, voxels.
        sizes: of a voxel, any unit. An axis is halved where its voxels are less than √2 times as
            long as the shortest.
        levels: how many; 0 as many as it takes until no side is longer than `SMALLEST`.

    Raises:
        BadInput: so many cannot be made.
    """
    if levels < 0:
        raise BadInput("levels", expected="0 or more", found=f"{levels}")
    found = [Resolution((1, 1, 1), origin, shape)]
    while len(found) < levels or (not levels and max(found[-1].shape) > SMALLEST):
        if max(found[-1].shape) == 1:
            expected = f"at most {len(found)}, the last of which is one voxel"
            raise BadInput("levels", expected=expected, found=f"{levels}")
        found.append(_next(found[-1], sizes))
    return tuple(found)


def _next(last: Resolution, sizes: Sequence[float]) -> Resolution:
    lengths = [size * factor for size, factor in zip(sizes, last.factors, strict=True)]
    shortest = min(a for a, n in zip(lengths, last.shape, strict=True) if n > 1)
    steps = [
        2 if n > 1 and a < _ALIKE * shortest else 1
        for a, n in zip(lengths, last.shape, strict=True)
    ]
    factors, origin, shape = [], [], []
    for axis, step in enumerate(steps):
        start, stop = last.origin[axis], last.origin[axis] + last.shape[axis]
        factors.append(last.factors[axis] * step)
        origin.append(start // step)
        shape.append(-(-stop // step) - start // step)
    return Resolution(_triple(factors), _triple(origin), _triple(shape))


class MeanPyramid:
    """The reduced resolutions of a volume, made block by block.

    Args:
        arrays: of the resolutions, the finest first, `(Z, Y, X)` of one integer dtype, each with
            its origin.
        levels: the resolutions.
        side: of a block, voxels of any resolution; a multiple of the side of a chunk.
        ledger: marks of the blocks that are there, those of the first resolution by their corners
            (`unit_of`).
    """

    def __init__(
        self,
        arrays: Sequence[ts.TensorStore],
        levels: Sequence[Resolution],
        side: int,
        ledger: Ledger,
    ) -> None:
        self._arrays, self._levels = arrays, levels
        self._side, self._ledger = side, ledger
        self._marked: set[str] = set()
        self._settled: set[str] = set()

    def settle(self, block: Slices) -> None:
        """Make all that can be made, now that a block of the first resolution is there and marked.

        Held in memory are one block and an eighth of what it covers.

        Args:
            block: its place in the volume, whose first voxel is 0, 0, 0.

        Raises:
            BadInput: the store cannot be read or written.
        """
        z, y, x = (part.start // self._side for part in block)
        self._settle((z, y, x), 0)

    def _settle(self, block: Triple, level: int) -> None:
        if level + 1 == len(self._levels):
            return
        for above in self._above(block, level):
            unit = self._unit(above, level + 1)
            if unit in self._settled:
                continue
            if not self._is_marked(unit):
                below = self._below(above, level + 1)
                if not all(self._is_marked(self._unit(each, level)) for each in below):
                    continue
                self._make(above, level + 1)
                self._ledger.mark(unit)
            self._settled.add(unit)
            self._settle(above, level + 1)

    def _make(self, block: Triple, level: int) -> None:
        """Write a block, read from the resolution before by parts."""
        box = self._box(block, level)
        made = np.empty([b - a for a, b in box], self._arrays[level].dtype.numpy_dtype)
        half = max(self._side // 2, 1)
        steps = self._steps(level)
        try:
            reduced = ts.downsample(self._arrays[level - 1], steps, "mean")
            for corner in itertools.product(*(range(0, n, half) for n in made.shape)):
                part = tuple(
                    slice(at, min(at + half, n)) for at, n in zip(corner, made.shape, strict=True)
                )
                there = tuple(
                    slice(p.start + a, p.stop + a) for p, (a, _) in zip(part, box, strict=True)
                )
                made[part] = reduced[there].read().result()
            self._arrays[level][tuple(slice(a, b) for a, b in box)].write(made).result()
        except (ValueError, IndexError) as error:
            raise refused(f"{self._arrays[level].url}", error) from error

    def _is_marked(self, unit: str) -> bool:
        if unit not in self._marked and self._ledger.kept(unit) is not None:
            self._marked.add(unit)
        return unit in self._marked

    def _unit(self, block: Triple, level: int) -> str:
        corner = [self._side * number for number in block]
        return f"level-{level}-{unit_of(corner)}" if level else unit_of(corner)

    def _steps(self, level: int) -> list[int]:
        """How many voxels of the resolution before one covers."""
        now, before = self._levels[level].factors, self._levels[level - 1].factors
        return [a // b for a, b in zip(now, before, strict=True)]

    def _box(self, block: Triple, level: int) -> list[tuple[int, int]]:
        """Where a block lies, in coordinates of its resolution."""
        about = self._levels[level]
        return [
            (start + number * self._side, start + min((number + 1) * self._side, n))
            for number, start, n in zip(block, about.origin, about.shape, strict=True)
        ]

    def _above(self, block: Triple, level: int) -> Iterable[Triple]:
        """The blocks of the next resolution that cover some of a block."""
        box, steps = self._box(block, level), self._steps(level + 1)
        spans = [(a // step, -(-b // step)) for (a, b), step in zip(box, steps, strict=True)]
        return self._blocks(spans, level + 1)

    def _below(self, block: Triple, level: int) -> Iterable[Triple]:
        """The blocks of the resolution before that a block covers some of."""
        box, steps = self._box(block, level), self._steps(level)
        spans = [(a * step, b * step) for (a, b), step in zip(box, steps, strict=True)]
        return self._blocks(spans, level - 1)

    def _blocks(self, spans: Sequence[tuple[int, int]], level: int) -> Iterable[Triple]:
        """The blocks that hold some of a box, which may be larger than the volume."""
        about = self._levels[level]
        ranges = []
        for (a, b), start, n in zip(spans, about.origin, about.shape, strict=True):
            low, high = max(a - start, 0), min(b - start, n)
            ranges.append(range(low // self._side, -(-high // self._side)))
        z, y, x = ranges
        return itertools.product(z, y, x)


def unit_of(corner: Sequence[int]) -> str:
    """How a ledger names the block with its first voxel there."""
    return "-".join(f"{at}" for at in corner)


def _triple(numbers: Sequence[int]) -> Triple:
    z, y, x = numbers
    return z, y, x
