"""Richardson-Lucy block by block, for images of any size: the same bits, whatever is done where.

One iteration is local: a voxel of the next object depends on the last one within twice the point
spread function's radius, four times with consensus, a voxel at least with total variation. Blocks
lie on a grid that is fixed to the image's origin; each is computed by FFTs of one length, from the
last object around it. What acceleration asks of the whole are two sums, which blocks add to. So
workers, order and restarts change nothing, and what a block reads of its neighbours is exact.
Against one whole FFT only rounding differs.

The side of a block is part of what is computed, and never follows from the memory that is there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.arrays.windows import Windowed
from cellmill.errors import BadInput
from cellmill.restoration import richardson_lucy_kernels as kernels
from cellmill.restoration.consensus import Consensus, checked_gain
from cellmill.restoration.fourier import Convolution, fast_shape
from cellmill.restoration.light import checked_light, checked_psf, odd_psf
from cellmill.restoration.richardson_lucy import LEAST_SEEN
from cellmill.restoration.sums import Sums
from cellmill.restoration.variation import FLAT, NO_VARIATION, Variation

#: Voxels along an axis of a block's core, by the number of axes; a shorter axis is not cut.
SIDES = {2: 1024, 3: 128}
#: Voxels of the image that are read at once where all are looked at.
_READ_AT_ONCE = 1 << 24
#: A model is never darker than this part of the first object's light.
_DARKEST, _DARK = 1e-7, 1e-20

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Block:
    """One block of the next object, float32 of the block's shape, and what it adds to the sums."""

    image: np.ndarray
    sums: Sums


@dataclass(frozen=True)
class BlockedRichardsonLucy:
    """Deconvolution with `valid` edges, of which any block of any iteration can be computed alone.

    The object lies on the image extended by the function's radius at both ends of each axis: voxel
    `i` of the image is voxel `i + radius` of the object. Whoever calls keeps the last objects, as
    many as `objects_read`, and the next one, and computes all blocks of an iteration before the
    next one begins.

    Args:
        acquired: `(Y, X)` or `(Z, Y, X)`, read by windows.
        psf: as many axes; it is divided by its sum.
        background: part of the model, in the image's unit.
        saturation: voxels at or above it were not measured; None: all were.
        side: of blocks; 0 is `SIDES`'.
        variation: total variation.
        level: what the first object is everywhere, as `first` gives it, by which total variation
            knows what is flat.
        accelerate: extrapolate from the last two steps.
        consensus: go on only where both halves of the photons ask for the same change.
        gain: grey levels a photon, for consensus.
    """

    acquired: Windowed
    psf: np.ndarray
    background: float = 0.0
    saturation: float | None = None
    side: int = 0
    variation: Variation = NO_VARIATION
    level: float = 0.0
    accelerate: bool = False
    consensus: bool = False
    gain: float = 1.0

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
        convolution = Convolution(kernel, self._length, 1)
        object.__setattr__(self, "_convolution", convolution)
        if self.consensus:
            gain = checked_gain(self.gain)
            object.__setattr__(
                self, "_consensus", Consensus(kernel, convolution, convolution.on, gain)
            )

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
    def objects_read(self) -> int:
        """How many of the last objects a block is computed from."""
        return 3 if self.accelerate else 1

    @property
    def bytes_per_block(self) -> int:
        """What computing a block takes, bytes, the function's transforms among it."""
        whole = 6.5
        if self.consensus:
            whole = 11.5 if self.variation.weight else 10.5
        return math.ceil(4 * (whole * math.prod(self._length) + 5 * math.prod(self.core)))

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

    def block(
        self, place: Slices, objects: Sequence[Windowed], factors: tuple[float, float] = (0.0, 0.0)
    ) -> Block:
        """Compute a block of the next object.

        Args:
            place: one of `blocks`.
            objects: the last ones, whole, the newest first, as many as `objects_read`; the first of
                all stands for those before it. They are read around the block.
            factors: with acceleration, how far this iteration is extrapolated, and how far the
                last one was; see `Sums.factor`.
        """
        convolution: Convolution = self._convolution  # type: ignore[attr-defined]
        x = self._guess(place, objects, factors[0])
        y = self._read_acquired(place)
        # The rim of the halo is spoilt by what the FFT joins: it is not part of any sum below.
        near, inner = self._around(place, 3 if self.consensus else 1), self._around(place, 0)
        model = convolution.forward(x, wanted=near)
        light, acquired = model[near] + np.float32(self.background), y[near]
        np.maximum(light, np.float32(max(self.level * _DARKEST, _DARK)), out=light)
        divergence = _divergence(y[inner], light[_within(inner, near)])
        measured = acquired >= 0
        np.divide(acquired, light, out=light, where=measured)
        light *= measured
        ratio = _spread(light, near, model)
        del light, acquired
        # For consensus the ratio is needed again, and all around the block.
        out, wanted = (None, None) if self.consensus else (ratio, self._wide(place))
        correction = convolution.adjoint(ratio, filled=near, wanted=wanted, out=out)
        seen = self._seen(measured, near, wanted)
        old = x[inner].copy()
        total = float(old.sum(dtype=np.float64))
        agreed = total
        if self.consensus:
            agreed = self._hold((x, ratio, correction, seen, y), place)
            convolution.on.release(ratio)
        del ratio, model, y
        enough = seen[inner] > LEAST_SEEN
        if self.variation.weight:
            found = self._varied(x, correction, seen, place)
        else:
            found = np.zeros(enough.shape, np.float32)
            np.divide(old * correction[inner], seen[inner], out=found, where=enough)
            np.maximum(found, 0, out=found)
        convolution.on.release(correction)
        del x
        change = float(np.abs(found - old).sum(dtype=np.float64))
        steps = (0.0, 0.0)
        if self.accelerate:
            steps = _steps([each[place] for each in objects], factors[1], found, old, enough)
        return Block(found, Sums(divergence, change, total, agreed, *steps))

    def _guess(self, place: Slices, objects: Sequence[Windowed], factor: float) -> np.ndarray:
        """The last object around a block; with a factor, gone on from as it came."""
        newest = _read(objects[0], place, self._reach, self._length, self.shape, 0.0)
        if not factor:
            return newest
        before = _read(objects[1], place, self._reach, self._length, self.shape, 0.0)
        return _extrapolated(newest, before, factor)

    def _seen(self, measured: np.ndarray, near: Slices, wanted: Slices | None) -> np.ndarray:
        """Which part of a voxel's light falls on what was measured: 1 where all was."""
        if measured.all():
            return np.broadcast_to(np.float32(1), self._length)
        convolution: Convolution = self._convolution  # type: ignore[attr-defined]
        there = _spread(measured, near, np.empty(self._length, np.float32))
        found: np.ndarray = convolution.adjoint(there, filled=near, wanted=wanted, out=there)
        return found

    def _hold(self, arrays: tuple[np.ndarray, ...], place: Slices) -> float:
        """Make the correction of a block 1 where there is no consensus; Σ x of what goes on."""
        x, ratio, correction, seen, y = arrays
        consensus: Consensus = self._consensus  # type: ignore[attr-defined]
        near, inner = self._around(place, 2), self._around(place, 0)
        gains = np.zeros(self._length, np.float32)
        np.divide(np.float32(1), seen[near], out=gains[near], where=seen[near] > LEAST_SEEN)
        old = x[inner].copy()
        if not self.variation.weight:
            # Of the object around the block only total variation needs more.
            x *= gains > 0
        else:
            x = x * (gains > 0)
        smooth = consensus.smoothed((x, ratio, correction, gains, y), inner)[0]
        parts = [old, *(array[inner].copy() for array in (correction, gains, smooth))]
        consensus.on.release(smooth)
        agreed = float(kernels.hold(*map(_rows, parts), 0, len(_rows(parts[0]))))
        correction[inner] = parts[1]
        return agreed

    def _varied(
        self, x: np.ndarray, correction: np.ndarray, seen: np.ndarray, place: Slices
    ) -> np.ndarray:
        """A block of the next object with total variation."""
        wide = self._wide(place)
        core = _within(self._around(place, 0), wide)
        object_, new, sight = (_volume(array[wide]) for array in (x, correction, seen))
        gain = np.divide(np.float32(1), sight, out=np.zeros_like(sight), where=sight > LEAST_SEEN)
        flat, rows = np.empty_like(object_), object_.shape[0] * object_.shape[1]
        sizes = tuple(map(np.float32, self.variation.steps))
        epsilon = np.float32(max(FLAT * self.level, 1e-20))
        kernels.flatness(object_, sizes, epsilon, flat, 0, rows)
        weight = np.float32(self.variation.weight)
        kernels.update_with_variation(object_, new, gain, flat, weight, sizes, 0, rows)
        found: np.ndarray = new.reshape([part.stop - part.start for part in wide])[core]
        return found

    def _read_acquired(self, place: Slices) -> np.ndarray:
        moved = tuple(
            slice(part.start - r, part.stop - r) for part, r in zip(place, self.radii, strict=True)
        )
        y = _read(self.acquired, moved, self._reach, self._length, self.acquired.shape, -1.0)
        if self.saturation is not None:
            y[y >= self.saturation] = -1
        return y

    def _around(self, place: Slices, radii: int) -> Slices:
        """Where in a window its block is, and so many radii around it."""
        return tuple(
            slice(far - radii * r, far + radii * r + part.stop - part.start)
            for far, r, part in zip(self._reach, self.radii, place, strict=True)
        )

    def _wide(self, place: Slices) -> Slices:
        """Where in a window its block is, with what total variation reads of its neighbours.

        That is a voxel at each side, but none beyond the object's rim, where nothing changes.
        """
        inner = self._around(place, 0)
        if not self.variation.weight:
            return inner
        sides = zip(inner, place, self.shape, strict=True)
        return tuple(
            slice(part.start - (there.start > 0), part.stop + (there.stop < n))
            for part, there, n in sides
        )

    @property
    def core(self) -> tuple[int, ...]:
        """Sides of a block, but for those at the far rim."""
        return tuple(min(self.side, n) for n in self.shape)

    @property
    def _length(self) -> tuple[int, ...]:
        return fast_shape([c + 2 * far for c, far in zip(self.core, self._reach, strict=True)])

    @property
    def _reach(self) -> tuple[int, ...]:
        """How far beyond a block the last object is read.

        Consensus is looked for within two radii around the block, by what is two more around.
        """
        radii = 4 if self.consensus else 2
        return tuple(max(radii * r, int(self.variation.weight > 0)) for r in self.radii)


def _extrapolated(newest: np.ndarray, before: np.ndarray, factor: float) -> np.ndarray:
    """Give newest + factor · (newest - before), not negative."""
    found, rows = np.empty_like(newest), tuple(map(_rows, (newest, before)))
    out = _rows(found)
    kernels.extrapolate(*rows, np.float32(factor), out, 0, len(out))
    return found


def _steps(
    objects: Sequence[np.ndarray], factor: float, found: np.ndarray, guess: np.ndarray, seen: Any
) -> tuple[float, float]:
    """Σ step · step before and Σ (step before)² of a block, from the last objects there."""
    newest, before, earliest = (np.ascontiguousarray(each) for each in objects)
    previous = np.where(seen, newest - _extrapolated(before, earliest, factor), np.float32(0))
    rows = tuple(map(_rows, (found, guess, previous)))
    along, square = kernels.steps_along(*rows, 0, len(rows[0]))
    return float(along), float(square)


def _spread(values: np.ndarray, there: Slices, out: np.ndarray) -> np.ndarray:
    """Write values where they are to be, and 0 elsewhere."""
    out[...] = 0
    out[there] = values
    return out


def _within(part: Slices, whole: Slices) -> Slices:
    """A part of a window, counted from where another one begins."""
    sides = zip(part, whole, strict=True)
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in sides)


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _volume(array: np.ndarray) -> np.ndarray:
    """A volume of its own, of one plane where the array has two axes."""
    return array.reshape((1,) * (3 - array.ndim) + array.shape).copy()


def _divergence(y: np.ndarray, model: np.ndarray) -> float:
    """Σ y log(y / m) - y + m over what was acquired, plane by plane."""
    total = 0.0
    for plane, light in zip(y, model, strict=True):
        there = plane >= 0
        acquired, expected = plane[there].astype(np.float64), light[there].astype(np.float64)
        lit = acquired > 0
        logarithms = acquired[lit] * np.log(acquired[lit] / expected[lit])
        total += float(logarithms.sum() + (expected - acquired).sum())
    return total


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
