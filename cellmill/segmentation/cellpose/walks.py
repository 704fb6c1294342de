"""Where each pixel of a cell ends up that follows the flows, step by step.

A walk is Euler's method on a field that is read between its pixels (Stringer et al., Nature Methods
18, 2021): positions are float32, weights float64, each step is rounded to float32 and kept inside
the image, as cellpose 3.1.1.3 computes it on a CPU. A walk is a function of its position alone, so
once it comes back to where it was it goes round for ever: its end is known from there, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.segmentation.cellpose.ends import LEFT, NONE
from cellmill.segmentation.cellpose.normalised_walks import go_normalised
from cellmill.segmentation.cellpose.parameters import Rule

#: Steps are a part of the flow that the network gives.
PART = np.float32(5)
#: Walks that go side by side, so that the processor waits for none of them.
_LANES = 256
#: Steps from one position that is kept to the next: so many, and this part of those gone.
_KEPT_EACH, _KEPT_PART = 4, 4
#: How far around a tile walks are followed at first; twice as far each time that was too near.
_HALO = 48
#: Rows that are brought to steps at once.
_ROWS = 128


@dataclass(frozen=True)
class Field:
    """The steps at the pixels of a window, and which of them are cells.

    Attributes:
        window: where it lies in the image or volume.
        steps: `(Y + 1, X + 1, 2)` float32 of the window, down and right, 0 outside of cells; the
            last row and column count for nothing. Of a volume as `volume_walks` makes them.
        cells: `(Y, X)` or `(Z, Y, X)` bool.
        shape: of the whole.
        rule: how it is walked through: by `cellpose4` as in `normalised_walks`.
    """

    window: Box
    steps: np.ndarray
    cells: np.ndarray
    shape: tuple[int, ...]
    rule: Rule = "right"


def field_of(
    flows: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    window: Box,
    shape: tuple[int, ...],
    rule: Rule = "right",
) -> Field:
    """Make the field of a window.

    Args:
        flows: `(Y, X, 2)` of the window, down and right, five times a step.
        probability: `(Y, X)` of the window.
        threshold: pixels above it are cells.
        window: where it lies.
        shape: `(Y, X)` of the image.
        rule: how it is walked through.
    """
    high, wide = window.shape
    steps = np.empty((high + 1, wide + 1, 2), np.float32)
    steps[high], steps[:, wide] = 0, 0
    cells = np.empty((high, wide), bool)

    def part(top: int) -> None:
        rows = slice(top, min(top + _ROWS, high))
        given = probability[rows].astype(np.float32, copy=False)
        np.greater(given, np.float32(threshold), out=cells[rows])
        found = steps[rows, :wide]
        np.divide(flows[rows].astype(np.float32, copy=False), PART, out=found)
        found *= cells[rows][..., np.newaxis]

    in_threads(part, range(0, high, _ROWS))
    return Field(window, steps, cells, shape, rule)


def follow(field: Field, starts: Box, count: int, ends: np.ndarray) -> int:
    """Walk from every cell's pixel of a part of a window.

    Args:
        field: of the window.
        starts: the part, in the image.
        count: steps of a walk.
        ends: integers of the shape of `starts`, contiguous, written to: `y * X + x` of the pixel
            of the image that a walk ended in; `NONE` where there is no cell, `LEFT` where the
            window was too small.

    Returns:
        How many walks left the window.
    """
    rows, columns = starts.within(field.window)
    cells = field.cells[rows, columns]

    def part(band: tuple[int, int]) -> int:
        own = ends[slice(*band)]
        own[...] = NONE
        places = np.flatnonzero(cells[slice(*band)])
        return _walk(field, starts.y0 + band[0], starts.x0, places, count, own)

    return sum(in_threads(part, bands(starts.shape[0], per_thread=4)))


def follow_tile(
    starts: Box, shape: tuple[int, ...], field_at: Callable[[Box], Field], count: int
) -> tuple[np.ndarray, int]:
    """Walk from every cell's pixel of a tile, in as large a window as walks go.

    Args:
        starts: the tile.
        shape: `(Y, X)` of the image.
        field_at: gives the field of a window.
        count: steps of a walk.

    Returns:
        Ends as in `follow`, int64; and how often walks were begun again in a larger window.
    """
    ends = np.empty(starts.shape, np.int64)
    halo, tries, left = _HALO, 0, 1
    while left:
        field = field_at(starts.grown(halo, shape))
        left = (follow_again if tries else follow)(field, starts, count, ends)
        halo, tries = 2 * halo, tries + 1
    return ends, tries - 1


def follow_again(field: Field, starts: Box, count: int, ends: np.ndarray) -> int:
    """Walk again from where walks left a smaller window; see `follow`."""
    places = np.flatnonzero(ends == LEFT)
    return _walk(field, starts.y0, starts.x0, places, count, ends)


def _walk(
    field: Field, top: int, left: int, places: np.ndarray, count: int, ends: np.ndarray
) -> int:
    """Walk from some places of an array of ends of which the first pixel is `top`, `left`."""
    box, (height, width) = field.window, field.shape
    # The last row and column from which all four pixels around a position are in the window.
    lowest = box.y1 - (1 if box.y1 == height else 2)
    rightmost = box.x1 - (1 if box.x1 == width else 2)
    inside = (box.y0, box.x0, lowest, rightmost)
    begin = (top, left, ends.shape[1])
    steps, row = field.steps.reshape(-1), field.steps.shape[1] * 2
    go = go_normalised if field.rule == "cellpose4" else _go
    return int(go(steps, row, inside, (height, width), begin, places, count, ends.reshape(-1)))


@kernel
def _go(steps, row, inside, shape, begin, places, count, ends):  # type: ignore[no-untyped-def]
    """Walk from all places, a few hundred side by side; how many left the window."""
    positions = np.empty((4, _LANES), np.float32)
    whose = np.empty((2, _LANES), np.int64)
    gone = 0
    for first in range(0, len(places), _LANES):
        some = places[first : first + _LANES]
        for i in range(len(some)):
            y, x = divmod(some[i], begin[2])
            positions[0, i] = begin[0] + y
            positions[1, i] = begin[1] + x
            whose[0, i] = some[i]
            whose[1, i] = count
        gone += _go_together(steps, row, inside, shape, positions, whose, len(some), count, ends)
    return gone


@kernel
def _go_together(  # type: ignore[no-untyped-def]
    steps, row, inside, shape, positions, whose, n, count, ends
):
    """Walk in step until all have ended: a walk that ended gives its lane to the last one.

    `positions` has y, x, and the y, x that are kept; `whose` the places and the last steps.
    """
    y, x, kept_y, kept_x = positions[0], positions[1], positions[2], positions[3]
    place, last = whose[0], whose[1]
    most_y, most_x, zero = np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(0)
    top, left, lowest, rightmost = inside
    gone, kept, keep_next = 0, 0, 0
    for t in range(count):
        if t == keep_next:
            kept_y[:n] = y[:n]
            kept_x[:n] = x[:n]
            kept = t
            keep_next = t + max(_KEPT_EACH, t // _KEPT_PART)
        i = 0
        while i < n:
            j, k = np.int64(y[i]), np.int64(x[i])
            ended = j < top or k < left or j > lowest or k > rightmost
            if ended:
                ends[place[i]] = LEFT
                gone += 1
            else:
                v, u = np.float64(y[i]) - j, np.float64(x[i]) - k
                at = np.uint64((j - top) * row + (k - left) * 2)
                down, right = _between(steps, at, np.uint64(row), v, u)
                y[i] = min(max(y[i] + down, zero), most_y)
                x[i] = min(max(x[i] + right, zero), most_x)
                if y[i] == kept_y[i] and x[i] == kept_x[i] and last[i] == count:
                    # It goes round: what is left of the last round is all that counts.
                    last[i] = t + 1 + (count - t - 1) % (t + 1 - kept)
                ended = t + 1 == last[i]
                if ended:
                    ends[place[i]] = np.int64(y[i]) * shape[1] + np.int64(x[i])
            if ended:
                n -= 1
                for line in range(4):
                    positions[line, i] = positions[line, n]
                place[i] = place[n]
                last[i] = last[n]
            else:
                i += 1
    return gone


@kernel
def _between(steps, at, row, v, u):  # type: ignore[no-untyped-def]
    """The step between four pixels; in this order of operations, on which last bits depend."""
    below, two = at + row, np.uint64(2)
    w, s = 1 - v, 1 - u
    down = (
        steps[at] * w * s
        + steps[at + two] * w * u
        + steps[below] * v * s
        + steps[below + two] * v * u
    )
    at, below = at + np.uint64(1), below + np.uint64(1)
    right = (
        steps[at] * w * s
        + steps[at + two] * w * u
        + steps[below] * v * s
        + steps[below + two] * v * u
    )
    return np.float32(down), np.float32(right)


def follow_pixels(field: Field, count: int, ends: np.ndarray) -> None:
    """Walk through a whole image by the flow of the pixel that a walk is in, not between pixels.

    It is what cellpose does with `interp=False`.

    Args:
        field: of the image.
        count: steps of a walk.
        ends: as in `follow`, of the whole image.
    """
    ends[...] = NONE
    places = np.flatnonzero(field.cells)
    steps, row = field.steps.reshape(-1), field.steps.shape[1] * 2

    def part(band: tuple[int, int]) -> None:
        _go_by_pixels(steps, row, field.shape, places[slice(*band)], count, ends.reshape(-1))

    in_threads(part, bands(len(places), per_thread=4))


@kernel
def _go_by_pixels(steps, row, shape, places, count, ends):  # type: ignore[no-untyped-def]
    most_y, most_x, zero = np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(0)
    for place in places:
        y, x = np.float32(place // shape[1]), np.float32(place % shape[1])
        for _ in range(count):
            at = np.int64(y) * row + np.int64(x) * 2
            down, right = steps[at], steps[at + 1]
            if down == 0 and right == 0:
                break
            y = min(max(np.float32(y + down), zero), most_y)
            x = min(max(np.float32(x + right), zero), most_x)
        ends[place] = np.int64(y) * shape[1] + np.int64(x)
