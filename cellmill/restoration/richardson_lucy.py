"""The arrays and steps of Richardson-Lucy, on the window that is computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np

from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.restoration import richardson_lucy_kernels as kernels
from cellmill.restoration.consensus import Consensus
from cellmill.restoration.fourier import Convolution, fast_shape
from cellmill.restoration.variation import FLAT, Variation

Edges = Literal["valid", "circulant", "same"]
EDGES: tuple[Edges, ...] = ("valid", "circulant", "same")
#: Where less than this part of a voxel's light falls on what was acquired, it stays 0.
LEAST_SEEN = 1e-3
#: A model is never darker than this part of the brightest voxel that was acquired.
_DARKEST = 1e-7
_Sums = TypeVar("_Sums")


def computed_shape(shape: Sequence[int], psf_shape: Sequence[int], edges: Edges) -> tuple[int, ...]:
    """The window that is computed: what was acquired, and as much more as edges and FFTs want."""
    if edges == "circulant":
        return tuple(shape)
    radii = [side // 2 for side in psf_shape]
    beyond = 2 if edges == "valid" else 1
    sides = zip(shape, radii, strict=True)
    return fast_shape([side + beyond * radius for side, radius in sides])


class Window:
    """The arrays of one deconvolution, on the window that is computed.

    The object lies from the window's beginning on; what was acquired is its part `core`. Of its
    light the part `agreed` was in consensus at the last iteration.
    """

    def __init__(
        self,
        image: np.ndarray,
        psf: np.ndarray,
        edges: Edges,
        background: float,
        saturation: float | None,
        threads: int | None,
    ) -> None:
        radii = tuple(side // 2 for side in psf.shape)
        shape = computed_shape(image.shape, psf.shape, edges)
        if edges == "circulant" and any(
            side < other for side, other in zip(image.shape, psf.shape, strict=True)
        ):
            raise BadInput(
                "PSF", expected=f"at most the image's {image.shape}", found=f"{psf.shape}"
            )
        offset = radii if edges == "valid" else (0,) * image.ndim
        self.core = tuple(slice(o, o + n) for o, n in zip(offset, image.shape, strict=True))
        self.threads = thread_count() if threads is None else threads
        self._convolution = Convolution(psf, shape, self.threads)
        self._psf = psf
        self._consensus: Consensus | None = None
        self.agreed = 1.0
        self._background = np.float32(background)
        self._acquired = np.full(shape, -1, np.float32)
        self._acquired[self.core] = image
        if saturation is not None:
            self._acquired[self._acquired >= saturation] = -1
        self._measured = int((self._acquired >= 0).sum())
        if not self._measured:
            raise BadInput("saturation", expected="some voxels below it", found=f"{saturation:g}")
        self._least = np.float32(max(float(self._acquired.max()) * _DARKEST, 1e-30))
        self._gain = self._gains(edges, radii, image.shape)
        self.object: np.ndarray = np.empty(0, np.float32)

    def _gains(self, edges: Edges, radii: Sequence[int], shape: Sequence[int]) -> np.ndarray:
        """1 / α where enough light is seen, and 0 where the object is not."""
        if edges == "same":
            gain = np.zeros(self._acquired.shape, np.float32)
            gain[self.core] = 1
            return gain
        seen = self._convolution.adjoint((self._acquired >= 0).astype(np.float32))
        enough = seen > LEAST_SEEN
        gain = np.divide(np.float32(1), seen, out=np.zeros_like(seen), where=enough)
        if edges == "valid":
            inside = tuple(slice(0, n + 2 * r) for n, r in zip(shape, radii, strict=True))
            beyond = np.ones(gain.shape, bool)
            beyond[inside] = False
            gain[beyond] = 0
        return gain

    def begin(self, start: np.ndarray | float | None) -> None:
        """Put the first object there."""
        shape = self._acquired.shape
        if start is None:
            there = self._acquired[self._acquired >= 0]
            mean = float(there.mean(dtype=np.float64)) - float(self._background)
            start = max(mean, float(self._least))
        first = np.zeros(shape, np.float32)
        if np.ndim(start):
            acquired = first[self.core].shape
            if np.shape(start) != acquired:
                raise BadInput("start", expected=f"shape {acquired}", found=f"{np.shape(start)}")
            first[self.core] = start
        else:
            first[...] = start
        first[self._gain == 0] = 0
        self.object = first
        lit = first[self._gain > 0]
        mean = float(lit.mean(dtype=np.float64)) if lit.size else 0.0
        self._epsilon = np.float32(max(FLAT * mean, 1e-20))

    def divide(self) -> float:
        """Compare the object's image with what was acquired; the divergence a voxel."""
        self._seen = self._convolution.forward(self.object)
        seen, acquired = _rows(self._seen), _rows(self._acquired)

        def part(band: tuple[int, int]) -> float:
            found: float = kernels.ratio(seen, acquired, self._background, self._least, *band)
            return found

        return sum(self.shared(part, len(seen))) / self._measured

    def agree(self, gain: float) -> None:
        """From now on go on only where there is consensus; `gain` is grey levels a photon."""
        self._consensus = Consensus(self._psf, self._convolution, self.threads, gain)

    def multiply(self, variation: Variation) -> float:
        """Make the next object from the last; how much changed."""
        correction = self._convolution.adjoint(self._seen)
        if self._consensus is not None:
            arrays = (self.object, self._seen, correction, self._gain, self._acquired)
            self.agreed = self._consensus.hold(arrays, self.shared)
        old, new, gain = map(_rows, (self.object, correction, self._gain))
        if variation.weight:
            sizes = tuple(map(np.float32, variation.steps))
            # The ratio is not needed any more; its memory is.
            volumes = tuple(map(_volume, (self.object, correction, self._gain, self._seen)))
            self.shared(
                lambda band: kernels.flatness(volumes[0], sizes, self._epsilon, volumes[3], *band),
                len(old),
            )

            def part(band: tuple[int, int]) -> tuple[float, float]:
                found: tuple[float, float] = kernels.update_with_variation(
                    *volumes, np.float32(variation.weight), sizes, *band
                )
                return found
        else:

            def part(band: tuple[int, int]) -> tuple[float, float]:
                found: tuple[float, float] = kernels.update(old, new, gain, *band)
                return found

        sums = self.shared(part, len(old))
        del self._seen
        self.object = correction
        return sum(s[0] for s in sums) / max(sum(s[1] for s in sums), 1e-30)

    def residual(self) -> np.ndarray:
        """What was acquired less the model; 0 where nothing was measured."""
        model = self._convolution.forward(self.object)[self.core] + self._background
        acquired = self._acquired[self.core]
        left: np.ndarray = np.where(acquired >= 0, acquired - model, np.float32(0))
        return left

    def acquired_part(self) -> np.ndarray:
        """The object on the window that was acquired."""
        return np.ascontiguousarray(self.object[self.core])

    def shared(self, part: Callable[[tuple[int, int]], _Sums], rows: int) -> list[_Sums]:
        """Work on bands of rows side by side: the same ones, so the same sums, for any threads."""
        return in_threads(part, _bands(rows), self.threads)


class Acceleration:
    """Extrapolation from the last two objects (Biggs and Andrews 1997, of first order)."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._before = window.object
        self._newest = window.object
        self._step = np.zeros_like(window.object)
        self._along, self._square = 0.0, 0.0

    def guess(self, number: int) -> None:
        """Go on from the newest object in the direction in which it came."""
        factor = self._along / self._square if number > 2 and self._square > 0 else 0.0
        factor = min(max(factor, 0.0), 1.0)
        self._guess = np.empty_like(self._newest)
        arrays = tuple(map(_rows, (self._newest, self._before)))
        out = _rows(self._guess)
        self._window.shared(
            lambda band: kernels.extrapolate(*arrays, np.float32(factor), out, *band), len(out)
        )
        self._window.object = self._guess

    def learn(self) -> None:
        """Keep the object that the guess led to, and how far it went."""
        self._before, self._newest = self._newest, self._window.object
        arrays = tuple(map(_rows, (self._newest, self._guess, self._step)))
        sums = self._window.shared(lambda band: kernels.steps_along(*arrays, *band), len(arrays[0]))
        self._along, self._square = (sum(each[k] for each in sums) for k in (0, 1))


def _bands(rows: int) -> list[tuple[int, int]]:
    count = max(1, min(64, rows // 16))
    edges = [rows * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _volume(array: np.ndarray) -> np.ndarray:
    return array.reshape((1,) * (3 - array.ndim) + array.shape)
