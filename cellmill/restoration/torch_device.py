"""What deconvolution computes with on a GPU: the same operations by torch, in place.

Sums are of float64. FFTs are cuFFT's on a GPU, whose plans torch keeps; on processors they are
MKL's or pocketfft's. What is not done in place is done slab by slab of the first axis, so that
little memory is taken beside the arrays themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cellmill.compute.devices import import_torch

#: Voxels of a slab.
_AT_ONCE = 1 << 24


class TorchDevice:
    """The operations of an iteration on torch's tensors; `processors.Processors` says what each is.

    Args:
        name: of torch's device: `cuda`, or `cpu`.

    Raises:
        BadInput: torch is not installed.
    """

    def __init__(self, name: str) -> None:
        self._torch = import_torch()
        self._device = self._torch.device(name)

    def put(self, array: np.ndarray) -> Any:
        """An array on the device."""
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def get(self, array: Any) -> np.ndarray:
        """The same as one of numpy's."""
        found: np.ndarray = array.cpu().numpy()
        return found

    def zeros_like(self, array: Any) -> Any:
        """Nothing, of an array's shape."""
        return self._torch.zeros_like(array)

    def empty_like(self, array: Any) -> Any:
        """Anything, of an array's shape."""
        return self._torch.empty_like(array)

    def release(self, array: Any) -> None:
        """Nothing: torch knows what memory is free."""

    def transformed(self, function: Any) -> Any:
        """What a function is convolved by: the transform along all axes, half of the last."""
        return self._torch.fft.rfftn(function)

    def convolve(
        self,
        image: Any,
        transform: Any,
        way: str = "forward",
        *,
        filled: tuple[slice, ...] | None = None,
        wanted: tuple[slice, ...] | None = None,
        out: Any = None,
    ) -> Any:
        """The circular convolution by what `transformed` gave, all of it, in memory of its own."""
        spectrum = self.transformed(image)
        if way != "adjoint":
            spectrum *= transform
        if way != "forward":
            for part, other in _slabs(spectrum, transform):
                part *= self._torch.conj_physical(other)
        return self._torch.fft.irfftn(spectrum, s=tuple(image.shape))

    def ratio(self, seen: Any, acquired: Any, background: float, least: float) -> float:
        """Overwrite h ∗ x by y / (h ∗ x + b); the I-divergence."""
        torch, total = self._torch, self._sum()
        for part, y in _slabs(seen, acquired):
            part += background
            part.clamp_(min=least)
            there = y >= 0
            quotient = y / part
            each = torch.xlogy(y, quotient)
            each += part
            each -= y
            total += torch.where(there, each, 0).sum(dtype=torch.float64)
            part.copy_(torch.where(there, quotient, 0))
        return float(total)

    def update(self, object_: Any, correction: Any, gain: Any) -> tuple[float, float]:
        """Overwrite the correction by the next object; Σ |new - old| and Σ old."""
        correction *= object_
        correction *= gain
        correction.clamp_(min=0)
        return self._change(object_, correction)

    def update_with_variation(
        self,
        arrays: tuple[Any, Any, Any, Any],
        epsilon: float,
        weight: float,
        steps: Sequence[float],
    ) -> tuple[float, float]:
        """As `update` with total variation; arrays are object, correction, gain, and room."""
        # The first axis is the one that is cut, of an image too.
        if arrays[0].ndim == 2:
            arrays = tuple(array[:, None] for array in arrays)
            steps = steps[1], 1.0, steps[2]
        object_, correction, gain, flat = arrays
        sizes = tuple(map(float, steps))
        for start, stop in _cuts(object_):
            square = self._torch.full_like(object_[start:stop], float(epsilon) ** 2)
            for axis, step in enumerate(sizes):
                difference = self._differences(object_, axis, start, stop)
                difference /= step
                square.narrow(axis, 0, difference.shape[axis]).addcmul_(difference, difference)
            flat[start:stop] = square.rsqrt_()
        for start, stop in _cuts(object_):
            divisor = self._divergence(object_, flat, sizes, start, stop)
            divisor *= -weight
            divisor += 1
            new = correction[start:stop]
            new *= object_[start:stop]
            new *= gain[start:stop]
            new /= divisor
            new.clamp_(min=0)
        return self._change(object_, correction)

    def relative_noise(self, ratio: Any, acquired: Any, gain: float, out: Any) -> None:
        """Write gain · y / m², the variance of photons' noise in the ratio."""
        for r, y, found in _slabs(ratio, acquired, out):
            found.copy_(self._torch.where(y > 0, gain * r * r / y, 0))

    def agreement(self, object_: Any, correction: Any, gain: Any, noise: Any) -> float:
        """Overwrite the noise by what is in consensus; Σ x."""
        total = self._sum()
        for x, c, seen, part in _slabs(object_, correction, gain, noise):
            gradient = c * seen
            gradient -= 1
            part *= seen
            part *= seen
            self._torch.addcmul(part.neg_(), gradient, gradient, out=part)
            part *= x
            total += x.sum(dtype=self._torch.float64)
        return float(total)

    def hold(self, object_: Any, correction: Any, gain: Any, agreed: Any) -> float:
        """Make c · gain 1 where nothing agrees; Σ x of the other voxels."""
        torch, total = self._torch, self._sum()
        for x, c, seen, on in _slabs(object_, correction, gain, agreed):
            goes_on = on > 0
            total += torch.where(goes_on, x, 0).sum(dtype=torch.float64)
            c.copy_(torch.where(~goes_on & (seen > 0), 1 / seen, c))
        return float(total)

    def extrapolate(self, newest: Any, before: Any, factor: float) -> Any:
        """Give newest + factor · (newest - before), not negative."""
        found = newest - before
        found *= factor
        found += newest
        return found.clamp_(min=0)

    def steps_along(self, newest: Any, guess: Any, step: Any) -> tuple[float, float]:
        """Overwrite the previous step by newest - guess; Σ new · previous and Σ previous²."""
        along, square = self._sum(), self._sum()
        for new, old, previous in _slabs(newest, guess, step):
            following = new - old
            along += (following * previous).sum(dtype=self._torch.float64)
            square += (previous * previous).sum(dtype=self._torch.float64)
            previous.copy_(following)
        return float(along), float(square)

    def _change(self, old: Any, new: Any) -> tuple[float, float]:
        change, total = self._sum(), self._sum()
        for before, after in _slabs(old, new):
            change += (after - before).abs_().sum(dtype=self._torch.float64)
            total += before.sum(dtype=self._torch.float64)
        return float(change), float(total)

    def _sum(self) -> Any:
        return self._torch.zeros((), dtype=self._torch.float64, device=self._device)

    def _differences(self, volume: Any, axis: int, start: int, stop: int) -> Any:
        """Forward differences of planes from `start` to `stop`; none at the far rim."""
        if axis:
            part = volume[start:stop]
            count = part.shape[axis] - 1
            return part.narrow(axis, 1, count) - part.narrow(axis, 0, count)
        end = min(stop, len(volume) - 1)
        return volume[start + 1 : end + 1] - volume[start:end]

    def _divergence(
        self, volume: Any, flat: Any, steps: Sequence[float], start: int, stop: int
    ) -> Any:
        """Backward differences of the flow ∇x / |∇x|, added up over the axes."""
        found = self._torch.zeros_like(volume[start:stop])
        for axis, step in enumerate(steps):
            # Along the first axis, one plane before also flows into the slab.
            low = max(start - 1, 0) if axis == 0 else start
            flow = self._differences(volume, axis, low, stop)
            flow *= flat[low:stop].narrow(axis, 0, flow.shape[axis])
            flow /= step * step
            before = start - low if axis == 0 else 0
            out = flow.narrow(axis, before, flow.shape[axis] - before)
            found.narrow(axis, 0, out.shape[axis]).add_(out)
            first = 0 if before else 1
            count = found.shape[axis] - first
            found.narrow(axis, first, count).sub_(flow.narrow(axis, 0, count))
        return found


def _cuts(array: Any) -> Iterator[tuple[int, int]]:
    """Where slabs of the first axis begin and end."""
    step = max(1, _AT_ONCE // max(math.prod(array.shape[1:]), 1))
    for start in range(0, len(array), step):
        yield start, min(start + step, len(array))


def _slabs(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """The same slab of each array, one after the other."""
    for start, stop in _cuts(arrays[0]):
        yield tuple(array[start:stop] for array in arrays)
