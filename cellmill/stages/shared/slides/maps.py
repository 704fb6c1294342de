"""The maps of a slide as a network's outputs are written into them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cellmill.arrays.store import Ledger
from cellmill.arrays.windows import Box, WritableWindowed
from cellmill.stages.shared.slides.plan import SlidePlan


class ChannelsOf:
    """One head's output `(Y, X, C)`, of which some channels are kept, each in an array of its own.

    Args:
        shape: `(Y, X, C)` of the head.
        kept: the channels that are kept and where they go: one into `(Y, X)`, several, a slice,
            into `(Y, X, C)`; a channel may go to several arrays.
        on_written: called with each part that has been written.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        shape: tuple[int, ...],
        kept: Sequence[tuple[int | slice, WritableWindowed]],
        on_written: Callable[[Box], None] | None = None,
    ) -> None:
        self.shape = shape
        self._kept, self._on_written = kept, on_written

    def __getitem__(self, window: Any, /) -> np.ndarray:
        raise TypeError("a head's output is written, not read")

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Write a window, `(rows, columns)`, of all channels."""
        for channel, array in self._kept:
            array[window] = values[..., channel]
        if self._on_written:
            edges = [
                edge
                for part, side in zip(window, self.shape, strict=False)
                for edge in part.indices(side)[:2]
            ]
            self._on_written(Box(*edges))


def planned_marks(made: SlidePlan) -> Ledger:
    """The marks of all predictions for a plan; those for other plans do not count."""
    return Ledger(f"{made.store}/predicted", made.fingerprint)


def predicted_marks(made: SlidePlan, engine: str, precision: str) -> Ledger:
    """The marks of the parts of a slide that an engine predicted in a precision."""
    return Ledger(f"{made.store}/predicted/{made.fingerprint[:32]}", f"{engine} {precision}")


def remaining(box: Box, done: Iterable[Box]) -> list[Box]:
    """What is left of a box of which parts are done.

    Args:
        box: the whole.
        done: the parts, in any order.

    Returns:
        Boxes that do not overlap, as wide as can be.
    """
    parts = [common for part in done if (common := part.common(box))]
    edges = sorted({box.x0, box.x1, *(x for part in parts for x in (part.x0, part.x1))})
    found: list[Box] = []
    for x0, x1 in itertools.pairwise(edges):
        beside = {(part.y0, part.y1): part for part in found if part.x1 == x0}
        for y0, y1 in _gaps(box, [part for part in parts if part.x0 <= x0 and x1 <= part.x1]):
            grown = beside.get((y0, y1))
            if grown:
                found.remove(grown)
            found.append(Box(y0, y1, grown.x0 if grown else x0, x1))
    return found


def _gaps(box: Box, parts: Iterable[Box]) -> Iterator[tuple[int, int]]:
    """The rows of a box that no part covers."""
    y = box.y0
    for part in sorted(parts, key=lambda part: part.y0):
        if part.y0 > y:
            yield y, part.y0
        y = max(y, part.y1)
    if y < box.y1:
        yield y, box.y1


def name_of(box: Box) -> str:
    """A box as the name of a part of the work."""
    return f"{box.y0}-{box.y1}-{box.x0}-{box.x1}"


def box_named(name: str) -> Box:
    """The box of that name."""
    return Box(*(int(edge) for edge in name.split("-")))
