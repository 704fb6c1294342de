"""Putting tiles together, row of tiles by row of tiles, and writing what is complete."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Box, WritableWindowed
from cellmill.compute.parts import Parts
from cellmill.errors import BadInput
from cellmill.inference.tiles import TileGrid
from cellmill.models.card import Placement


@dataclass(frozen=True)
class Target:
    """Where one head goes, and how its tiles are put together.

    Args:
        array: `(Y / stride, X / stride, channels)`, its sides rounded up.
        grid: the tiles, in the head's own values.
        stride: pixels of the input a value, along each axis.
        placement: of tiles.

    Raises:
        BadInput: the array has another shape.
    """

    array: WritableWindowed
    grid: TileGrid
    stride: int
    placement: Placement

    def __post_init__(self) -> None:
        shape = tuple(self.array.shape)
        if len(shape) != 3 or shape[:2] != self.grid.shape:
            raise BadInput("output", expected=f"(Y, X) = {self.grid.shape}", found=f"{shape}")

    def part(self, window: Box) -> Box:
        """The head's values that are at pixels of a window of the input."""
        y0, y1, x0, x1 = (
            -(-edge // self.stride) for edge in (window.y0, window.y1, window.x0, window.x1)
        )
        return Box(y0, y1, x0, x1)

    def bytes_per_column(self, unit: int) -> float:
        """What a `Band` holds for each column of the input."""
        rows = self.grid.rows.tile
        # float64 sums of a row of tiles, and as many rows again as wait for their storage unit.
        return self.array.shape[2] * (8 * rows + 4 * (unit + rows)) / self.stride


class Band:
    """The rows of one output's window that tiles still add to, and those that wait to be written.

    Rows are written up to a multiple of the unit, and what is left at the end.

    Args:
        target: the output.
        window: of the input.
        columns: the columns of tiles that reach it.
        unit: side of the output's storage unit, in its own values.
        parts: has the seconds of writing added to `write`.
    """

    def __init__(
        self, target: Target, window: Box, columns: range, unit: int, parts: Parts
    ) -> None:
        self.grid, self.output, self.placement = target.grid, target.array, target.placement
        self.window = window = target.part(window)
        self.unit, self.columns, self.parts = unit, columns, parts
        grid, output = self.grid, self.output
        #: The output's column at which the sums begin.
        self.left = grid.columns.start(columns[0]) - grid.columns.before
        first, last = grid.columns.start(columns[0]), grid.columns.start(columns[-1])
        width = last - first + grid.columns.tile
        self.sums = np.zeros((grid.rows.tile, width, output.shape[2]))
        self.waiting = np.empty(
            (unit + grid.rows.tile, window.shape[1], output.shape[2]), output.dtype
        )
        self.written = self.finished = window.y0

    def add(self, tile: np.ndarray, row: int, column: int) -> None:
        """Put one tile in; the last tile of a row of tiles completes its rows.

        Args:
            tile: `(tile_y, tile_x, channels)` in the output's values.
            row: of tiles.
            column: of tiles.
        """
        if 0 in self.window.shape:  # none of the head's values is at a pixel of the window
            return
        x = self.grid.columns.start(column) - self.grid.columns.start(self.columns[0])
        window = self.sums[:, x : x + self.grid.columns.tile]
        if self.grid.overwrites(self.placement):
            window[...] = tile
        else:
            window += tile * self.grid.weights(row, column, self.placement)[..., None]
        if column == self.columns[-1]:
            self._complete(row)

    def _complete(self, row: int) -> None:
        """Take the rows that no later tile reaches, and move the rest up."""
        rows, window = self.grid.rows, self.window
        finished = rows.advance(row)
        top = rows.start(row) - rows.before
        y0, y1 = max(top, window.y0), min(top + finished, window.y1)
        if y0 < y1:
            x0 = window.x0 - self.left
            part = self.sums[y0 - top : y1 - top, x0 : x0 + window.shape[1]]
            self.waiting[y0 - self.written : y1 - self.written] = part
            self.finished = y1
            self._write()
        shared = rows.tile - finished
        self.sums[:shared] = self.sums[finished:].copy()
        self.sums[shared:] = 0

    def _write(self) -> None:
        last = self.finished == self.window.y1
        stop = self.finished if last else self.finished // self.unit * self.unit
        if stop <= self.written:
            return
        ready, left = stop - self.written, self.finished - stop
        # Unit by unit, or all columns at once where there are none.
        x0, x1, unit = self.window.x0, self.window.x1, self.unit
        cuts = range((x0 // unit + 1) * unit, x1, unit) if unit > 1 else ()
        for start, end in itertools.pairwise((x0, *cuts, x1)):
            part = self.waiting[:ready, start - x0 : end - x0]
            with self.parts.part("write"):
                self.output[self.written : stop, start:end] = part
        self.waiting[:left] = self.waiting[ready : ready + left].copy()
        self.written = stop
