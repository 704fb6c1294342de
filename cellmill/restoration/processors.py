"""What deconvolution computes with on processors: FFTs, and kernels that are fused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy import fft

from cellmill.compute.threads import in_threads, thread_count
from cellmill.restoration import richardson_lucy_kernels as kernels
from cellmill.restoration.side_by_side import Rooms, Transform, Way, fits
from cellmill.restoration.slabs import convolve_by_slabs

_Sums = TypeVar("_Sums")


class Processors:
    """The operations of an iteration, on numpy's float32 arrays, in place.

    `torch_device.TorchDevice` has the same ones; what they do is said here. Rows are shared out in
    bands that are the same for any number of threads, and so are the sums.

    Args:
        threads: how many; None is `thread_count()`.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = thread_count() if threads is None else threads
        self._rooms = Rooms()

    def put(self, array: np.ndarray) -> Any:
        """An array as these operations take it; it may be the same memory."""
        return array

    def get(self, array: Any) -> np.ndarray:
        """The same as one of numpy's."""
        found: np.ndarray = array
        return found

    def zeros_like(self, array: Any) -> Any:
        """Nothing, of an array's shape."""
        return np.zeros_like(array)

    def empty_like(self, array: Any) -> Any:
        """Anything, of an array's shape."""
        return self._rooms.take(array.shape)

    def release(self, array: Any) -> None:
        """Say that nobody needs an array any more: its memory is for the next."""
        self._rooms.give(array)

    def transformed(self, function: Any) -> Any:
        """What a function, its middle at the first voxel, is convolved by."""
        if fits(function.shape):
            return Transform(function, self._threads, self._rooms)
        return fft.rfftn(function, workers=self._threads)

    def convolve(
        self,
        image: Any,
        transform: Any,
        way: Way = "forward",
        *,
        filled: tuple[slice, ...] | None = None,
        wanted: tuple[slice, ...] | None = None,
        out: Any = None,
    ) -> Any:
        """The circular convolution by what `transformed` gave; see `side_by_side.Transform`.

        It may come to be in `out`, which may be the image.
        """
        part: dict[str, Any] = {"filled": filled, "threads": self._threads}
        if isinstance(transform, Transform):
            return transform.convolve(image, way, wanted=wanted, out=out, **part)
        if way == "both":
            image, part = convolve_by_slabs(image, transform, **part), {"threads": self._threads}
        return convolve_by_slabs(
            image, transform, conjugate=way != "forward", wanted=wanted, **part
        )

    def ratio(self, seen: Any, acquired: Any, background: float, least: float) -> float:
        """Overwrite h ∗ x by y / (h ∗ x + b); the I-divergence. See the kernel."""
        rows, levels = _all_rows(seen, acquired), (np.float32(background), np.float32(least))
        return sum(self._shared(lambda band: kernels.ratio(*rows, *levels, *band), len(rows[0])))

    def update(self, object_: Any, correction: Any, gain: Any) -> tuple[float, float]:
        """Overwrite the correction by the next object; Σ |new - old| and Σ old."""
        rows = _all_rows(object_, correction, gain)
        return _added(self._shared(lambda band: kernels.update(*rows, *band), len(rows[0])))

    def update_with_variation(
        self,
        arrays: tuple[Any, Any, Any, Any],
        epsilon: float,
        weight: float,
        steps: Sequence[float],
    ) -> tuple[float, float]:
        """As `update` with total variation; arrays are object, correction, gain, and room."""
        volumes, count = tuple(map(_volume, arrays)), len(_rows(arrays[0]))
        sizes = tuple(map(np.float32, steps))
        object_, room, flat = volumes[0], volumes[3], np.float32(epsilon)
        self._shared(lambda band: kernels.flatness(object_, sizes, flat, room, *band), count)
        strength = np.float32(weight)
        return _added(
            self._shared(
                lambda band: kernels.update_with_variation(*volumes, strength, sizes, *band), count
            )
        )

    def relative_noise(self, ratio: Any, acquired: Any, gain: float, out: Any) -> None:
        """Write gain · y / m², the variance of photons' noise in the ratio."""
        rows, level, last = _all_rows(ratio, acquired), np.float32(gain), _rows(out)
        self._shared(lambda band: kernels.relative_noise(*rows, level, last, *band), len(last))

    def agreement(self, object_: Any, correction: Any, gain: Any, noise: Any) -> float:
        """Overwrite the noise by what is in consensus; Σ x."""
        rows = _all_rows(object_, correction, gain, noise)
        return sum(self._shared(lambda band: kernels.agreement(*rows, *band), len(rows[0])))

    def hold(self, object_: Any, correction: Any, gain: Any, agreed: Any) -> float:
        """Make c · gain 1 where nothing agrees; Σ x of the other voxels."""
        rows = _all_rows(object_, correction, gain, agreed)
        return sum(self._shared(lambda band: kernels.hold(*rows, *band), len(rows[0])))

    def extrapolate(self, newest: Any, before: Any, factor: float) -> Any:
        """Give newest + factor · (newest - before), not negative."""
        found, step = self.empty_like(newest), np.float32(factor)
        rows = _all_rows(newest, before)
        out = _rows(found)
        self._shared(lambda band: kernels.extrapolate(*rows, step, out, *band), len(out))
        return found

    def steps_along(self, newest: Any, guess: Any, step: Any) -> tuple[float, float]:
        """Overwrite the previous step by newest - guess; Σ new · previous and Σ previous²."""
        rows = _all_rows(newest, guess, step)
        return _added(self._shared(lambda band: kernels.steps_along(*rows, *band), len(rows[0])))

    def _shared(self, part: Callable[[tuple[int, int]], _Sums], rows: int) -> list[_Sums]:
        count = max(1, min(64, rows // 16))
        edges = [rows * k // count for k in range(count + 1)]
        return in_threads(part, list(itertools.pairwise(edges)), self._threads)


def _added(sums: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(each[0] for each in sums), sum(each[1] for each in sums)


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _all_rows(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(map(_rows, arrays))


def _volume(array: np.ndarray) -> np.ndarray:
    return array.reshape((1,) * (3 - array.ndim) + array.shape)
