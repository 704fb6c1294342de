"""Convolution by real FFTs of our own, sixteen side by side in a processor's vectors.

About twice as fast as `slabs`, whose FFTs are SciPy's, where an array is wide enough and its sides
are products of 2, 3 and 5. Planes are transformed while a cache holds them; along the first axis
columns are transformed, multiplied and transformed back likewise. Each of the sixteen is computed
by itself, so how work is shared out changes no bit.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import fft

from cellmill.compute.threads import in_threads
from cellmill.restoration import transform_kernels as kernels
from cellmill.restoration.butterflies import LANES, RADICES

Slices = tuple[slice, ...]
Way = Literal["forward", "adjoint", "both"]
#: Bytes of planes, and columns, that a thread takes at once.
_PLANES, _COLUMNS = 1 << 20, 1 << 10


def fits(shape: Sequence[int]) -> bool:
    """Whether arrays of a shape can be transformed so: wide enough, with fast sides."""
    height, width = shape[-2:]
    return (
        not height % 2
        and height >= 2 * LANES
        and width >= LANES
        and all(map(_radices, (*shape[:-2], height // 2, width)))
    )


@dataclass(frozen=True)
class Layout:
    """How arrays of one shape are transformed, and how their spectrum lies in memory.

    Of a volume the first axis of a spectrum is Z, and its lanes are X and half of Y; of an image
    the first is X, and its lanes are half of Y.
    """

    shape: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Of a volume."""
        depth, height, width = (1, *self.shape)[-3:]
        return depth, height, width

    @property
    def half(self) -> int:
        """Half of Y."""
        return self.shape[-2] // 2

    @property
    def lanes(self) -> int:
        """Numbers beside each other, of one place along the first axis."""
        return self.half * (self.shape[-1] if len(self.shape) == 3 else 1)

    @property
    def places(self) -> tuple[int, int]:
        """Numbers from one place along the first axis to the next; and to the imaginary parts."""
        padded = -(-self.lanes // kernels.WIDE) * kernels.WIDE
        # Where the steps are powers of 2, all of a column would lie at one place of a cache.
        step = padded + LANES * (padded % 256 == 0)
        return step, step * self.first

    @property
    def first(self) -> int:
        """Length of the first axis."""
        return self.shape[0] if len(self.shape) == 3 else self.shape[1]

    @property
    def inner(self) -> int:
        """Length of the other axis along which complex numbers are transformed."""
        return self.shape[2] if len(self.shape) == 3 else 1

    def work(self) -> np.ndarray:
        """What a transform works in."""
        return np.empty(4 * kernels.WIDE * max(self.half, *self.shape), np.float32)

    def halves(self) -> tuple[np.ndarray, np.ndarray, int]:
        """What pairs of rows are split by, room for M rows, and M."""
        return _circle(2 * self.half), np.empty(2 * LANES * self.half, np.float32), self.half


class Rooms:
    """Arrays whose memory is used again: the system clears a new one's, page by page."""

    def __init__(self) -> None:
        self._free: defaultdict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)

    def take(self, shape: Sequence[int]) -> np.ndarray:
        """A float32 array of a shape; it holds anything."""
        try:
            return self._free[tuple(shape)].pop()
        except IndexError:
            return np.empty(shape, np.float32)

    def give(self, array: np.ndarray) -> None:
        """Say that nobody needs an array any more."""
        self._free[array.shape].append(array)


class Transform:
    """The transform of a function, by which arrays of its shape are convolved.

    Args:
        function: float32 `(Y, X)` or `(Z, Y, X)`, its middle at the first voxel; see `fits`.
        threads: how many.
        rooms: for spectra.
    """

    def __init__(self, function: np.ndarray, threads: int, rooms: Rooms) -> None:
        self._layout = layout = Layout(function.shape)
        self._rooms = rooms
        room, rims = self._into(function, None, threads)
        self._factors = room.reshape(-1)
        plan = _plan(layout.first)
        self._columns(
            lambda lanes: kernels.forward(self._factors, lanes, layout.places, layout.work(), plan),
            threads,
        )
        self._rims = fft.rfft2(rims)

    def convolve(
        self,
        image: np.ndarray,
        way: Way = "forward",
        *,
        filled: Slices | None = None,
        wanted: Slices | None = None,
        out: np.ndarray | None = None,
        threads: int = 1,
    ) -> np.ndarray:
        """Circular convolution.

        Args:
            image: float32, of the function's shape.
            way: by the function as it is, turned around, or first the one and then the other.
            filled: where the image is not 0; None: everywhere.
            wanted: what is asked for; elsewhere the result is anything. None: all.
            out: where it is written; it may be the image.
            threads: how many.

        Returns:
            float32 of the image's shape.
        """
        layout = self._layout
        room, rims = self._into(image, filled, threads)
        spectrum = room.reshape(-1)
        scale = np.float32(1 / (8 * layout.half * layout.first * layout.inner))
        once = scale if way == "forward" else -scale
        weights = np.array([[scale, once], [0.5, 0.5]][: 1 + (way == "both")], np.float32)
        plan = _plan(layout.first)
        self._columns(
            lambda lanes: kernels.through(
                spectrum, self._factors, lanes, layout.places, weights, layout.work(), plan
            ),
            threads,
        )
        rims = fft.irfft2(fft.rfft2(rims) * self._of_rims(way), s=rims.shape[1:])
        found = self._rooms.take(layout.shape) if out is None else out
        self._out(found, spectrum, rims, wanted, threads)
        self._rooms.give(room)
        return found

    def _into(
        self, image: np.ndarray, filled: Slices | None, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum but for the transform along its first axis, and the rims."""
        layout, pixels = self._layout, np.ascontiguousarray(image).reshape(-1)
        depth, height, width = layout.sizes
        filled = filled or tuple(slice(0, n) for n in layout.shape)
        room = self._rooms.take((2, layout.first, layout.places[0]))
        spectrum = room.reshape(-1)
        rims = np.zeros((2, depth, width), np.float32)
        places, flat, across = layout.places, rims.reshape(-1), filled[-1]
        if len(layout.shape) == 2:
            room[:, : across.start] = 0
            room[:, across.stop :] = 0
            self._across(
                lambda lanes: kernels.columns_in(
                    *(pixels, 0, width, lanes, (spectrum, 0, places[1]), places[0], flat),
                    *((0, width), layout.work(), _plan(height // 2), layout.halves()),
                ),
                across,
                threads,
            )
            return room, rims
        room[:, : filled[0].start] = 0
        room[:, filled[0].stop :] = 0
        plans = _plan(height // 2), _plan(width)
        self._planes(
            lambda planes: kernels.planes_in(
                *(pixels, planes, layout.sizes, (across.start, across.stop), spectrum, places),
                *(flat, layout.work(), plans, layout.halves()),
            ),
            filled[0],
            threads,
        )
        return room, rims

    def _out(
        self,
        out: np.ndarray,
        spectrum: np.ndarray,
        rims: np.ndarray,
        wanted: Slices | None,
        threads: int,
    ) -> None:
        """Undo `_into`."""
        layout, pixels = self._layout, out.reshape(-1)
        _, height, width = layout.sizes
        wanted = wanted or tuple(slice(0, n) for n in layout.shape)
        places, flat, across = layout.places, rims.reshape(-1), wanted[-1]
        if len(layout.shape) == 2:
            self._across(
                lambda lanes: kernels.columns_out(
                    *(pixels, 0, width, lanes, (spectrum, 0, places[1]), places[0], flat),
                    *((0, width), layout.work(), _plan(height // 2), layout.halves()),
                ),
                across,
                threads,
            )
            return
        plans = _plan(height // 2), _plan(width)
        self._planes(
            lambda planes: kernels.planes_out(
                *(pixels, planes, layout.sizes, (across.start, across.stop), spectrum, places),
                *(flat, layout.work(), plans, layout.halves()),
            ),
            wanted[0],
            threads,
        )

    def _of_rims(self, way: str) -> np.ndarray:
        """By what the rims' transform is multiplied."""
        if way == "forward":
            return self._rims
        return self._rims.conj() if way == "adjoint" else np.abs(self._rims) ** 2

    def _planes(self, work: _Part, planes: slice, threads: int) -> None:
        _, height, width = self._layout.sizes
        _each(work, planes, max(1, _PLANES // (4 * height * width)), threads)

    def _across(self, work: _Part, columns: slice, threads: int) -> None:
        _each(work, columns, LANES * max(1, _COLUMNS // LANES // 8), threads)

    def _columns(self, work: _Part, threads: int) -> None:
        _each(work, slice(0, self._layout.lanes), _COLUMNS, threads)


_Part = Callable[[tuple[int, int]], Any]


def _each(work: _Part, part: slice, step: int, threads: int) -> None:
    """Work on stretches of a part of an axis."""
    starts = range(part.start, part.stop, step)
    in_threads(work, [(a, min(a + step, part.stop)) for a in starts], threads)


@functools.cache
def _radices(length: int) -> tuple[int, ...]:
    """Into what a length is factored, the largest first; nothing where that cannot be.

    Every factor is a pass over all numbers: they are as few as can be, and then as small.
    """
    if length in (1, *RADICES):
        return (length,)
    found = [
        (*rest, radix)
        for radix in RADICES
        if length % radix == 0 and (rest := _radices(length // radix))
    ]
    best = min(found, key=lambda some: (len(some), sum(some)), default=())
    return tuple(sorted(best, reverse=True))


@functools.lru_cache(64)
def _plan(length: int) -> tuple[np.ndarray, np.ndarray]:
    """The radices of a transform, and the factors of all its steps."""
    parts, left = [np.zeros(2)], length
    for radix in _radices(length):
        rest = left // radix
        angles = np.arange(rest)[:, None] * np.arange(1, radix) * (2 * np.pi / left)
        parts.append(np.stack([np.cos(angles), -np.sin(angles)], -1).ravel())
        left = rest
    factors = np.concatenate(parts[1:] if len(parts[-1]) else parts)
    return np.array(_radices(length), np.int64), factors.astype(np.float32)


@functools.lru_cache(64)
def _circle(count: int) -> np.ndarray:
    """exp(-2πi k / count) up to half of the circle."""
    angles = np.arange(count // 2 + 1) * (2 * np.pi / count)
    return np.stack([np.cos(angles), -np.sin(angles)], -1).ravel().astype(np.float32)
