"""The arrays and steps of Richardson-Lucy, on the window that is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cellmill.errors import BadInput
from cellmill.restoration.consensus import Consensus
from cellmill.restoration.fourier import Convolution, fast_shape
from cellmill.restoration.operations import Operations
from cellmill.restoration.variation import FLAT, Variation

Edges = Literal["valid", "circulant", "same"]
EDGES: tuple[Edges, ...] = ("valid", "circulant", "same")
#: Where less than this part of a voxel's light falls on what was acquired, it stays 0.
LEAST_SEEN = 1e-3
#: A model is never darker than this part of the brightest voxel that was acquired.
_DARKEST = 1e-7


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
    light the part `agreed` was in consensus at the last iteration. With `keeps` somebody needs the
    last object when there is a next one.
    """

    def __init__(
        self,
        image: np.ndarray,
        psf: np.ndarray,
        edges: Edges,
        background: float,
        saturation: float | None,
        on: Operations,
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
        self.on = on
        self._convolution = Convolution(psf, shape, on=on)
        self._psf = psf
        self._consensus: Consensus | None = None
        self.agreed = 1.0
        self._background = float(np.float32(background))
        acquired = np.full(shape, -1, np.float32)
        acquired[self.core] = image
        if saturation is not None:
            acquired[acquired >= saturation] = -1
        self._measured = int((acquired >= 0).sum())
        if not self._measured:
            raise BadInput("saturation", expected="some voxels below it", found=f"{saturation:g}")
        self._least = float(np.float32(max(float(acquired.max()) * _DARKEST, 1e-30)))
        self._gain = on.put(self._gains(acquired, edges, radii, image.shape))
        self._acquired = on.put(acquired)
        self.object: Any = None
        self.keeps = False

    def _gains(
        self, acquired: np.ndarray, edges: Edges, radii: Sequence[int], shape: Sequence[int]
    ) -> np.ndarray:
        """1 / α where enough light is seen, and 0 where the object is not."""
        if edges == "same":
            gain = np.zeros(acquired.shape, np.float32)
            gain[self.core] = 1
            return gain
        if edges == "circulant" and self._measured == acquired.size:
            return np.ones(acquired.shape, np.float32)
        measured = self.on.put((acquired >= 0).astype(np.float32))
        seen = self.on.get(self._convolution.adjoint(measured))
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
        acquired, gain = self.on.get(self._acquired), self.on.get(self._gain)
        if start is None:
            there = acquired[acquired >= 0]
            mean = float(there.mean(dtype=np.float64)) - self._background
            start = max(mean, self._least)
        if np.ndim(start):
            first = np.zeros(acquired.shape, np.float32)
            inner = first[self.core].shape
            if np.shape(start) != inner:
                raise BadInput("start", expected=f"shape {inner}", found=f"{np.shape(start)}")
            first[self.core] = start
            first[gain == 0] = 0
            lit = first[gain > 0]
            mean = float(lit.mean(dtype=np.float64)) if lit.size else 0.0
        else:
            first = np.where(gain > 0, np.float32(start), np.float32(0))
            mean = float(np.float32(start))
        self._epsilon = float(np.float32(max(FLAT * mean, 1e-20)))
        self.object = self.on.put(first)

    def divide(self) -> float:
        """Compare the object's image with what was acquired; the divergence a voxel."""
        self._seen = self._convolution.forward(self.object, wanted=self.core)
        found = self.on.ratio(self._seen, self._acquired, self._background, self._least)
        return found / self._measured

    def agree(self, gain: float) -> None:
        """From now on go on only where there is consensus; `gain` is grey levels a photon."""
        self._consensus = Consensus(self._psf, self._convolution, self.on, gain)

    def multiply(self, variation: Variation) -> float:
        """Make the next object from the last; how much changed."""
        # The ratio is needed again for consensus, and its memory for total variation.
        plain = self._consensus is None and not variation.weight
        out = self._seen if plain else None
        correction = self._convolution.adjoint(self._seen, filled=self.core, out=out)
        if self._consensus is not None:
            arrays = (self.object, self._seen, correction, self._gain, self._acquired)
            self.agreed = self._consensus.hold(arrays)
        if variation.weight:
            change, total = self.on.update_with_variation(
                (self.object, correction, self._gain, self._seen),
                self._epsilon,
                variation.weight,
                variation.steps,
            )
        else:
            change, total = self.on.update(self.object, correction, self._gain)
        if correction is not self._seen:
            self.on.release(self._seen)
        if not self.keeps:
            self.on.release(self.object)
        del self._seen
        self.object = correction
        return change / max(total, 1e-30)

    def residual(self) -> np.ndarray:
        """What was acquired less the model; 0 where nothing was measured."""
        model = self.on.get(self._convolution.forward(self.object, wanted=self.core)[self.core])
        acquired = self.on.get(self._acquired[self.core])
        left = acquired - model - np.float32(self._background)
        left[acquired < 0] = 0
        return left

    def acquired_part(self) -> np.ndarray:
        """The object on the window that was acquired."""
        return np.ascontiguousarray(self.on.get(self.object[self.core]))


class Acceleration:
    """Extrapolation from the last two objects (Biggs and Andrews 1997, of first order)."""

    def __init__(self, window: Window) -> None:
        self._window = window
        window.keeps = True
        self._before = window.object
        self._newest = window.object
        self._step = window.on.zeros_like(window.object)
        self._along, self._square = 0.0, 0.0

    def guess(self, number: int) -> None:
        """Go on from the newest object in the direction in which it came."""
        factor = self._along / self._square if number > 2 and self._square > 0 else 0.0
        factor = min(max(factor, 0.0), 1.0)
        self._guess = self._window.on.extrapolate(self._newest, self._before, factor)
        self._window.object = self._guess

    def learn(self) -> None:
        """Keep the object that the guess led to, and how far it went."""
        over, on = self._before, self._window.on
        self._before, self._newest = self._newest, self._window.object
        self._along, self._square = on.steps_along(self._newest, self._guess, self._step)
        on.release(self._guess)
        if over is not self._before:
            on.release(over)
