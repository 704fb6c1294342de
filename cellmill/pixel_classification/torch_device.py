"""Features of pixels and their classes on a GPU, by torch: the steps of `filters` and `forest`.

Sums are float32 in the kernels' order, each step over a whole window at once, so that a feature is
the kernels' own but for how a multiplication and an addition are rounded, and does not depend on
the window in an image (in volumes eigenvalues hang on torch's cosine). A forest's votes are added
in the order of its trees: of equal features they are the kernels' own to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.compute.devices import device_for, import_torch, torch_name
from cellmill.pixel_classification.feature_set import FeatureSet, plan_of, scales
from cellmill.pixel_classification.filters import GAUSSIAN, GRADIENT, HESSIAN, LAPLACIAN, REACH
from cellmill.pixel_classification.forest import Forest

#: Places in trees that are held at once.
_AT_ONCE = 1 << 22
#: Bytes a place in a tree takes, and a pixel beside its features.
_PLACE_BYTES, _PIXEL_BYTES = 48, 320


class TorchPixels:
    """Computes features, and what a forest says of them, on one of torch's devices.

    Args:
        name: of the device: `cuda`, or `cpu`.

    Raises:
        BadInput: torch is not installed.
    """

    def __init__(self, name: str) -> None:
        self._torch = import_torch()
        self._device = self._torch.device(name)
        self._forests: dict[int, tuple[Forest, _Placed]] = {}

    def features(self, window: np.ndarray, wanted: FeatureSet) -> np.ndarray:
        """The features of a window.

        Args:
            window: `(C, …)` float32 with the halo of the features on each side.
            wanted: which features.

        Returns:
            `(F, …)` float32.
        """
        found: np.ndarray = self._derived(window, wanted).cpu().numpy()
        return found

    def probabilities(self, window: np.ndarray, wanted: FeatureSet, forest: Forest) -> np.ndarray:
        """What a forest says of a window, `(…, K)` float32; arguments as of `features`."""
        values = self._derived(window, wanted)
        votes = self._votes(values.reshape(len(values), -1), forest)
        found: np.ndarray = votes.cpu().numpy().reshape(*values.shape[1:], -1)
        return found

    def peak_bytes(self) -> int:
        """The most memory held on a GPU so far; 0 on processors."""
        on_gpu = self._device.type == "cuda"
        return int(self._torch.cuda.max_memory_allocated()) if on_gpu else 0

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """What is raised where memory is exhausted."""
        return (MemoryError, self._torch.cuda.OutOfMemoryError)

    def _derived(self, window: np.ndarray, wanted: FeatureSet) -> Any:
        source = self._torch.from_numpy(np.ascontiguousarray(window)).to(self._device)
        sides = [side - 2 * far for side, far in zip(window.shape[1:], wanted.halo, strict=True)]
        out = self._torch.empty((wanted.count, *sides), dtype=source.dtype, device=self._device)
        blurs: list[Any] = []
        every = iter(scales(wanted))
        for kind, first, place in plan_of(wanted):
            while len(blurs) <= first:
                blurs += self._blurred(source, *next(every), wanted)
            count = 1 if kind in (GAUSSIAN, GRADIENT, LAPLACIAN) else wanted.axes
            self._derive(int(kind), blurs[first:], wanted, out[place : place + count])
        return out

    def _blurred(
        self, source: Any, channel: int, sigma: float, tensor: bool, wanted: FeatureSet
    ) -> list[Any]:
        """Blurred images with `REACH` around what is wanted; of a tensor one a product."""
        weights, image, halo = wanted.weights(sigma), source[channel], wanted.halo
        if not tensor:
            return [_blur(image, weights, [far - REACH for far in halo])]
        # The derivatives look one pixel farther than their products are wanted.
        radii = wanted.radii(sigma)
        starts = [far - radius - REACH - 1 for far, radius in zip(halo, radii, strict=True)]
        along = _sobel(_Around(_blur(image, weights, starts), 1), _along_z(wanted))
        pairs = [(a, b) for place, a in enumerate(along) for b in along[place:]]
        return [_blur(a * b, weights, list(radii)) for a, b in pairs]

    def _derive(self, kind: int, blurs: Sequence[Any], wanted: FeatureSet, out: Any) -> None:
        at, along_z = _Around(blurs[0], REACH), _along_z(wanted)
        if kind == GAUSSIAN:
            out[0] = at()
        elif kind == GRADIENT:
            squares = [each * each for each in _sobel(at, along_z)]
            total = squares[0] + squares[1]
            half = total * 0.5 if len(squares) == 2 else (total + squares[2]) / 3
            out[0] = half.sqrt_()
        elif kind == LAPLACIAN:
            out[0] = _laplacian(at, along_z)
        elif kind == HESSIAN:
            self._eigenvalues(_hessian(at, along_z), out)
        else:
            count = 3 if wanted.axes == 2 else 6
            self._eigenvalues([_Around(each, REACH)() for each in blurs[:count]], out)

    def _eigenvalues(self, matrix: Sequence[Any], out: Any) -> None:
        """Eigenvalues of symmetric matrices, the greatest first: yy, yx, xx, or zz, zy, zx too."""
        torch = self._torch
        if len(matrix) == 3:
            yy, yx, xx = matrix
            middle, half = (yy + xx) * 0.5, (yy - xx) * 0.5
            root = (half * half + yx * yx).sqrt_()
            torch.add(middle, root, out=out[0])
            torch.sub(middle, root, out=out[1])
            return
        zz, zy, zx, yy, yx, xx = (each.double() for each in matrix)
        mean = (zz + yy + xx) / 3
        zz, yy, xx = zz - mean, yy - mean, xx - mean
        aside = zy * zy + zx * zx + yx * yx
        spread = ((zz * zz + yy * yy + xx * xx + 2 * aside) / 6).sqrt_()
        determinant = zz * (yy * xx - yx * yx) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)
        cube = 2 * spread * spread * spread
        cosine = torch.where(cube > 0, determinant / cube, 0).clamp_(-1, 1)
        angle = cosine.acos_() / 3
        greatest = 2 * spread * angle.cos()
        least = 2 * spread * (angle + 2 * np.pi / 3).cos()
        for place, each in enumerate((mean + greatest, mean - greatest - least, mean + least)):
            out[place] = each

    def _votes(self, values: Any, forest: Forest) -> Any:
        """Probabilities `(n, K)` of pixels whose features `(F, n)` are on the device."""
        torch, placed = self._torch, self._placed(forest)
        count, trees = values.shape[1], forest.trees
        flat, pixels = values.reshape(-1), torch.arange(count, device=self._device)
        sums = torch.zeros((count, forest.classes), dtype=values.dtype, device=self._device)
        step = max(1, _AT_ONCE // max(count, 1))
        for first in range(0, trees, step):
            node = placed.roots[first : first + step, None].expand(-1, count).contiguous()
            for _ in range(placed.depth):
                child = placed.left[node]
                seen = flat[placed.features[node] * count + pixels]
                right = (seen > placed.thresholds[node]).long()
                # Of a leaf the child is the leaf itself.
                node = torch.where(child == node, node, child + right)
            for own in node:
                sums += placed.votes[own]
        return sums.mul_(float(np.float32(1 / trees)))

    def _placed(self, forest: Forest) -> _Placed:
        if id(forest) not in self._forests:
            self._forests[id(forest)] = forest, _Placed(forest, self._torch, self._device)
        return self._forests[id(forest)][1]


class _Placed:
    """A forest on a device."""

    def __init__(self, forest: Forest, torch: Any, device: Any) -> None:
        def put(array: np.ndarray) -> Any:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.features, self.left, self.roots = (
            put(each.astype(np.int64)) for each in (forest.features, forest.left, forest.roots)
        )
        self.thresholds, self.votes = put(forest.thresholds), put(forest.votes)
        self.depth = forest.depth


def pixels_on(
    device: str, wanted: FeatureSet, sides: Sequence[int], forest: Forest | None = None
) -> TorchPixels | None:
    """What computes features on a device, and what a forest says of them; None on processors.

    Args:
        device: as `cellmill.compute.devices.device_for` takes it.
        wanted: which features.
        sides: of the windows, without their halo.
        forest: what is asked, if one is.

    Raises:
        BadInput: there is no such device, or it has no room.
    """
    around = [side + 2 * far for side, far in zip(sides, wanted.halo, strict=True)]
    place = device_for(device, bytes_needed(math.prod(around), wanted, forest))
    return None if place == "cpu" else TorchPixels(torch_name(place))


def bytes_needed(pixels: int, wanted: FeatureSet, forest: Forest | None = None) -> int:
    """Bytes that a window of so many pixels, halo included, takes on a device, at most."""
    places = max(_AT_ONCE, pixels) * _PLACE_BYTES if forest else 0
    blurs = len(scales(wanted)) * (6 if any(tensor for *_, tensor in scales(wanted)) else 1)
    return pixels * (4 * (wanted.count + wanted.channels + blurs) + _PIXEL_BYTES) + places


def _along_z(wanted: FeatureSet) -> float:
    return float(np.float32(1 / wanted.z_spacing))


def _blur(image: Any, weights: Sequence[np.ndarray], starts: Sequence[int]) -> Any:
    """Blur along Z, Y and X; along each axis what is wanted begins at a start, and ends so."""
    for axis, (own, start) in enumerate(zip(weights, starts, strict=True)):
        count = image.shape[axis] - 2 * start
        total = image.narrow(axis, start, count) * float(own[0])
        for k in range(1, len(own)):
            pair = image.narrow(axis, start - k, count) + image.narrow(axis, start + k, count)
            total.add_(pair.mul_(float(own[k])))
        image = total
    return image


class _Around:
    """Views of an image or a volume beside what is wanted of it.

    Args:
        image: with a margin on each side.
        margin: pixels.
    """

    def __init__(self, image: Any, margin: int) -> None:
        self._image, self._margin = image, margin
        self.axes = image.ndim

    def __call__(self, *steps: int) -> Any:
        """What lies so many steps off along the last axes."""
        view = self._image
        for axis, step in enumerate((0,) * (self.axes - len(steps)) + steps):
            count = view.shape[axis] - 2 * self._margin
            view = view.narrow(axis, self._margin + step, count)
        return view


def _sobel(at: _Around, along_z: float) -> list[Any]:
    """Sobel derivatives along Y and X, or Z, Y and X."""
    if at.axes == 2:
        up = at(-1, -1) + 2 * at(-1, 0) + at(-1, 1)
        down = at(1, -1) + 2 * at(1, 0) + at(1, 1)
        before = at(-1, -1) + 2 * at(0, -1) + at(1, -1)
        after = at(-1, 1) + 2 * at(0, 1) + at(1, 1)
        return [(down - up) * 0.25, (after - before) * 0.25]
    dz, dy, dx = (at() * 0 for _ in range(3))
    for one in (-1, 0, 1):
        for two in (-1, 0, 1):
            weight = (2 - abs(one)) * (2 - abs(two))
            dx += weight * (at(one, two, 1) - at(one, two, -1))
            dy += weight * (at(one, 1, two) - at(one, -1, two))
            dz += weight * (at(1, one, two) - at(-1, one, two))
    return [dz * 0.0625 * along_z, dy * 0.0625, dx * 0.0625]


def _laplacian(at: _Around, along_z: float) -> Any:
    found = (at(-1, 0) + at(1, 0)) + (at(0, -1) + at(0, 1)) - 4 * at()
    if at.axes == 3:
        found += (at(-1, 0, 0) + at(1, 0, 0) - 2 * at()) * along_z * along_z
    return found


def _hessian(at: _Around, along_z: float) -> list[Any]:
    """Central differences of central differences: yy, yx, xx, of a volume after zz, zy, zx."""
    yy = (at(2, 0) - 2 * at() + at(-2, 0)) * 0.25
    yx = ((at(1, 1) - at(1, -1)) - (at(-1, 1) - at(-1, -1))) * 0.25
    xx = (at(0, 2) - 2 * at() + at(0, -2)) * 0.25
    if at.axes == 2:
        return [yy, yx, xx]
    zz = (at(2, 0, 0) - 2 * at() + at(-2, 0, 0)) * 0.25 * along_z * along_z
    zy = ((at(1, 1, 0) - at(1, -1, 0)) - (at(-1, 1, 0) - at(-1, -1, 0))) * 0.25 * along_z
    zx = ((at(1, 0, 1) - at(1, 0, -1)) - (at(-1, 0, 1) - at(-1, 0, -1))) * 0.25 * along_z
    return [zz, zy, zx, yy, yx, xx]
