"""Richardson-Lucy block by block, for images of any size: the same bits, whatever is done where.

One iteration is local: a voxel of the next object depends on the last one within twice the point
spread function's radius, a voxel at least with total variation. Blocks lie on a grid that
is fixed to the image's origin; each is computed by FFTs of one length, from the last object around
it. So workers, order and restarts change nothing, and what a block reads of its neighbours is
exact. Against one whole FFT only rounding differs.

The side of a block is part of what is computed, and never follows from the memory that is there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.compute.threads import in_threads
from cellmill.errors import BadInput
from cellmill.restoration import richardson_lucy_kernels as kernels
from cellmill.restoration.fourier import Convolution, fast_shape
from cellmill.restoration.light import checked_light, checked_psf, odd_psf
from cellmill.restoration.richardson_lucy import LEAST_SEEN
from cellmill.restoration.variation import FLAT, NO_VARIATION, Variation

#: Voxels along an axis of a block's core, by the number of axes; a shorter axis is not cut.
SIDES = {2: 1024, 3: 128}
#: Voxels of the image that are read at once where all are looked at.
_READ_AT_ONCE = 1 << 24

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Block:
    """One block of the next object, and what it adds to the sums over the whole.

    Attributes:
        image: float32 of the block's shape.
        divergence: I-divergence of the model from what was acquired there, before the iteration.
        change: Σ |new - old|.
        total: Σ old.
    """

    image: np.ndarray
    divergence: float
    change: float
    total: float


@dataclass(frozen=True)
class BlockedRichardsonLucy:
    """Deconvolution with `valid` edges, of which any block of any iteration can be computed alone.

    The object lies on the image extended by the function's radius at both ends of each axis: voxel
    `i` of the image is voxel `i + radius` of the object. Whoever calls keeps two objects, the last
    and the next, and computes all blocks of an iteration before the next one begins.

    Args:
        acquired: `(Y, X)` or `(Z, Y, X)`, read by windows.
        psf: as many axes; it is divided by its sum.
        background: part of the model, in the image's unit.
        saturation: voxels at or above it were not measured; None: all were.
        side: of blocks; 0 is `SIDES`'.
        variation: total variation.
        level: what the first object is everywhere, as `first` gives it, by which total variation
            knows what is flat.
    """

    acquired: Windowed
    psf: np.ndarray
    background: float = 0.0
    saturation: float | None = None
    side: int = 0
    variation: Variation = NO_VARIATION
    level: float = 0.0

    def __post_init__(self) -> None:
        """Check the function, and bring it to odd sides and sum 1.

        Raises:
            BadInput: it does not fit the image.
        """
        if self.side < 0:
            raise BadInput("side", expected="0 or more", found=f"{self.side}")
        axes = len(self.acquired.shape)
        kernel = odd_psf(checked_psf(self.psf, axes))
        object.__setattr__(self, "psf", kernel)
        object.__setattr__(self, "side", self.side or SIDES[axes])
        object.__setattr__(self, "_convolution", Convolution(kernel, self._length, 1))

    @property
    def radii(self) -> tuple[int, ...]:
        """How far the function reaches, voxels, an axis each."""
        return tuple(side // 2 for side in self.psf.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the object."""
        sides = zip(self.acquired.shape, self.radii, strict=True)
        return tuple(n + 2 * r for n, r in sides)

    @property
    def acquired_part(self) -> Slices:
        """Where in the object the image lies."""
        sides = zip(self.acquired.shape, self.radii, strict=True)
        return tuple(slice(r, r + n) for n, r in sides)

    @property
    def blocks(self) -> tuple[Slices, ...]:
        """The object cut into blocks, in raster order."""
        cuts = [
            [slice(a, min(a + core, n)) for a in range(0, n, core)]
            for n, core in zip(self.shape, self.core, strict=True)
        ]
        return tuple(itertools.product(*cuts))

    @property
    def bytes_per_block(self) -> int:
        """What computing a block takes, bytes."""
        return (6 + 5 * (self.variation.weight > 0)) * 4 * math.prod(self._length)

    def first(self) -> tuple[int, float]:
        """How many voxels were measured, and the value that the first object has everywhere.

        That is the image's mean above the background.

        Raises:
            BadInput: none was measured, or a voxel is negative, NaN or infinite.
        """
        measured, total = self._measured()
        mean = total / measured
        return measured, max(mean - self.background, 1e-7 * mean, 1e-30)

    def _measured(self) -> tuple[int, float]:
        """The number of voxels that were measured and their sum, read part by part."""
        count, total = 0, 0.0
        rows = self.acquired.shape[0]
        step = max(1, _READ_AT_ONCE // math.prod(self.acquired.shape[1:]))
        for top in range(0, rows, step):
            y = checked_light(np.asarray(self.acquired[top : top + step]))
            if self.saturation is not None:
                y = y[y < self.saturation]
            count, total = count + y.size, total + float(y.sum(dtype=np.float64))
        if not count:
            raise BadInput(
                "saturation", expected="some voxels below it", found=f"{self.saturation}"
            )
        return count, total

    def block(self, last: Windowed, place: Slices) -> Block:
        """Compute a block of the next object.

        Args:
            last: the whole object of the iteration before, read around the block.
            place: one of `blocks`.
        """
        convolution: Convolution = self._convolution  # type: ignore[attr-defined]
        reach = self._reach
        x = _read(last, place, reach, self._length, self.shape, 0.0)
        y = self._read_acquired(place, reach)
        measured = y >= 0
        model = np.maximum(convolution.forward(x) + np.float32(self.background), 1e-20)
        # Half of the halo is spoilt by what the FFT joins: it is not part of any sum below.
        right = self._within_one_radius(place)
        ratio = np.divide(y, model, out=np.zeros_like(y), where=measured & right)
        correction = convolution.adjoint(ratio)
        seen = convolution.adjoint((measured & right).astype(np.float32))
        inner = tuple(
            slice(r, r + part.stop - part.start) for r, part in zip(reach, place, strict=True)
        )
        old = x[inner]
        if self.variation.weight:
            found = self._varied(x, correction, seen, inner, place)
        else:
            enough = seen[inner] > LEAST_SEEN
            found = np.zeros(enough.shape, np.float32)
            np.divide(old * correction[inner], seen[inner], out=found, where=enough)
            np.maximum(found, 0, out=found)
        return Block(
            found,
            _divergence(y[inner], model[inner]),
            float(np.abs(found - old).sum(dtype=np.float64)),
            float(old.sum(dtype=np.float64)),
        )

    def _varied(
        self,
        x: np.ndarray,
        correction: np.ndarray,
        seen: np.ndarray,
        inner: Slices,
        place: Slices,
    ) -> np.ndarray:
        """A block of the next object with total variation.

        A voxel more at each side is read, but none beyond the object's rim, where nothing changes.
        """
        before = [int(part.start > 0) for part in place]
        after = [int(part.stop < n) for part, n in zip(place, self.shape, strict=True)]
        wide = tuple(
            slice(part.start - b, part.stop + a)
            for part, b, a in zip(inner, before, after, strict=True)
        )
        object_, new, sight = (_volume(array[wide]) for array in (x, correction, seen))
        gain = np.divide(np.float32(1), sight, out=np.zeros_like(sight), where=sight > LEAST_SEEN)
        flat, rows = np.empty_like(object_), object_.shape[0] * object_.shape[1]
        sizes = tuple(map(np.float32, self.variation.steps))
        epsilon = np.float32(max(FLAT * self.level, 1e-20))
        kernels.flatness(object_, sizes, epsilon, flat, 0, rows)
        weight = np.float32(self.variation.weight)
        kernels.update_with_variation(object_, new, gain, flat, weight, sizes, 0, rows)
        core = tuple(
            slice(b, b + part.stop - part.start) for b, part in zip(before, inner, strict=True)
        )
        found: np.ndarray = new.reshape([part.stop - part.start for part in wide])[core]
        return found

    def _read_acquired(self, place: Slices, reach: Sequence[int]) -> np.ndarray:
        moved = tuple(
            slice(part.start - r, part.stop - r) for part, r in zip(place, self.radii, strict=True)
        )
        y = _read(self.acquired, moved, reach, self._length, self.acquired.shape, -1.0)
        if self.saturation is not None:
            y[y >= self.saturation] = -1
        return y

    def _within_one_radius(self, place: Slices) -> np.ndarray:
        found = np.zeros(self._length, bool)
        found[
            tuple(
                slice(far - r, far + r + part.stop - part.start)
                for far, r, part in zip(self._reach, self.radii, place, strict=True)
            )
        ] = True
        return found

    @property
    def core(self) -> tuple[int, ...]:
        """Sides of a block, but for those at the far rim."""
        return tuple(min(self.side, n) for n in self.shape)

    @property
    def _length(self) -> tuple[int, ...]:
        return fast_shape([c + 2 * far for c, far in zip(self.core, self._reach, strict=True)])

    @property
    def _reach(self) -> tuple[int, ...]:
        """How far beyond a block the last object is read."""
        return tuple(max(2 * r, int(self.variation.weight > 0)) for r in self.radii)


def deconvolve_blocks(
    work: BlockedRichardsonLucy,
    objects: tuple[np.ndarray, np.ndarray],
    iterations: int,
    *,
    order: Callable[[Sequence[Slices]], Iterable[Slices]] = list,
    threads: int | None = None,
) -> np.ndarray:
    """Compute all iterations in this process.

    Args:
        work: what is computed.
        objects: two float32 arrays of `work.shape`, in memory or mapped from files; the first holds
            the object to start from.
        iterations: how many.
        order: in which order blocks are computed; it changes nothing.
        threads: blocks at once; None is `thread_count()`.

    Returns:
        The one of the two arrays that holds the last object.
    """
    last, following = objects
    for _ in range(iterations):

        def one(place: Slices, last: np.ndarray = last, out: np.ndarray = following) -> None:
            out[place] = work.block(last, place).image

        in_threads(one, order(work.blocks), threads)
        last, following = following, last
    return last


def _volume(array: np.ndarray) -> np.ndarray:
    """A volume of its own, of one plane where the array has two axes."""
    return array.reshape((1,) * (3 - array.ndim) + array.shape).copy()


def _divergence(y: np.ndarray, model: np.ndarray) -> float:
    """Σ y log(y / m) - y + m over what was acquired."""
    there = y >= 0
    acquired, expected = y[there].astype(np.float64), model[there].astype(np.float64)
    lit = acquired > 0
    logarithms = acquired[lit] * np.log(acquired[lit] / expected[lit])
    return float(logarithms.sum() + (expected - acquired).sum())


def _read(
    array: Windowed,
    place: Slices,
    reach: Sequence[int],
    length: Sequence[int],
    shape: Sequence[int],
    beyond: float,
) -> np.ndarray:
    """A window around a place, of one length, with a value where the array is not."""
    out = np.full(length, beyond, np.float32)
    source, target = [], []
    for part, r, n in zip(place, reach, shape, strict=True):
        low, high = part.start - r, part.stop + r
        inside = slice(min(max(low, 0), n), max(min(high, n), 0))
        source.append(inside)
        target.append(slice(inside.start - low, inside.stop - low))
    out[tuple(target)] = array[tuple(source)]
    return out
