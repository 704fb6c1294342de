"""Richardson-Lucy deconvolution: with the light of what lies beyond the edge, and total variation.

What was acquired, y, is taken for Poisson(h ∗ x + b) on the voxels that were acquired (M = 1). Each
iteration multiplies the object x by Hᵀ[M y / (h ∗ x + b)] / α, where α = HᵀM
(W. H. Richardson, J. Opt. Soc. Am. 62 (1972) 55; L. B. Lucy, Astron. J. 79 (1974) 745). Three kinds
of edges:

- `valid`: the object goes on beyond the window by as far as the point spread function reaches, so
  that light from there is explained (M. Bertero and P. Boccacci, Astron. Astrophys. 437, 2005);
- `circulant`: what leaves at one side comes in at the other; least memory, right for what is
  surrounded by darkness;
- `same`: nothing is beyond the edge and α is 1, as scikit-image's `richardson_lucy` has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmill.compute.devices import device_for
from cellmill.errors import BadInput
from cellmill.restoration.consensus import LEAST_AGREED, checked_gain
from cellmill.restoration.light import checked_light, checked_psf, odd_psf
from cellmill.restoration.operations import operations_on
from cellmill.restoration.richardson_lucy import (
    EDGES,
    Acceleration,
    Edges,
    Window,
    computed_shape,
)
from cellmill.restoration.variation import Variation

#: Arrays of float32 that `deconvolve` takes at its peak, each of the window that is computed.
_ARRAYS, _ARRAYS_TO_ACCELERATE, _ARRAYS_TO_AGREE = 9.5, 3, 4
#: The same on a GPU, where FFTs work in memory of their own; and slabs, bytes.
_DEVICE_ARRAYS, _SLABS = 12.0, 8 * 4 << 24


@dataclass(frozen=True)
class Iteration:
    """How far a deconvolution is.

    Attributes:
        divergence: I-divergence of the model from what was acquired, a voxel, before the iteration:
            the negative Poisson likelihood but for a constant. It never rises without acceleration
            and total variation.
        change: Σ |new - old| / Σ old.
        agreed: part of the light of which both halves of the photons ask for the same change; 1
            where that was not asked.
    """

    divergence: float
    change: float
    agreed: float = 1.0


@dataclass(frozen=True)
class Deconvolution:
    """What was deconvolved.

    Attributes:
        image: float32 of the shape of what was given, in its unit, without the background.
        curve: one entry an iteration; fewer than were asked for where consensus ended it.
        residual: what was acquired less the model, where it was asked for; 0 where nothing was
            measured.
    """

    image: np.ndarray
    curve: tuple[Iteration, ...]
    residual: np.ndarray | None = None


def deconvolve(
    image: np.ndarray,
    psf: np.ndarray,
    *,
    iterations: int = 50,
    edges: Edges = "valid",
    total_variation: float = 0.0,
    spacing: Sequence[float] | None = None,
    accelerate: bool = False,
    consensus: bool = False,
    gain: float = 1.0,
    background: float = 0.0,
    saturation: float | None = None,
    start: np.ndarray | float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, Iteration], None] | None = None,
    residual: bool = False,
) -> Deconvolution:
    """Find the object whose image was acquired, by Richardson-Lucy.

    Args:
        image: `(Y, X)` or `(Z, Y, X)`, what was acquired; not negative.
        psf: the point spread function, as many axes, on the same voxels; its middle is the point.
            Even sides are made odd by a line of zeros. It is divided by its sum.
        iterations: how many; more sharpen and, from some on, make noise into grains.
        edges: see above.
        total_variation: λ of 5e-4 to 5e-3 keeps noise from becoming grains; 0 is without.
        spacing: size of a voxel along each axis, in any unit, for total variation; None is equal.
        accelerate: extrapolate from the last two steps (D. S. C. Biggs and M. Andrews, Appl. Opt.
            36 (1997) 1766): about a third of the iterations, and noise as much sooner.
        consensus: go on only where both halves of the photons, split at random, ask for the same
            change, and end when they do so for less than 1 % of the light: see `consensus`.
        gain: grey levels a photon, for consensus.
        background: b, in the image's unit; part of the model, so leave it in the image.
        saturation: voxels at or above it were not measured; None: all were.
        start: the object to start from, or its value everywhere; None is the image's mean.
        threads: how many; None is `thread_count()`.
        device: `cpu`; `cuda`, a GPU by torch; `auto`, a GPU where one is there that holds it all.
            A GPU's voxels are those of processors but for rounding.
        progress: called after each iteration with its number, from 1.
        residual: also give what was acquired less the model.

    Returns:
        The object on the acquired window, and the curve.

    Raises:
        BadInput: the image has other axes, NaN, infinity or negative values, the function does not
            fit, a parameter is out of range, or there is no such device or not enough of its
            memory.

    Example:
        >>> point = np.zeros((33, 33), np.float32)
        >>> point[16, 16] = 1000
        >>> y, x = np.mgrid[-4:5, -4:5]
        >>> psf = np.exp(-(y**2 + x**2) / 4)
        >>> seen = deconvolve(point, np.ones((1, 1))).image  # a point's image is itself
        >>> bool(np.allclose(seen, point, atol=1e-3))
        True
    """
    given = checked_light(image)
    kernel = odd_psf(checked_psf(psf, given.ndim))
    _check_parameters(iterations, edges, background)
    variation = Variation.of(total_variation, spacing, given.ndim)
    needed = device_bytes_for(given.shape, kernel.shape, edges, accelerate, consensus)
    on = operations_on(device_for(device, needed), threads)
    work = Window(given, kernel, edges, background, saturation, on)
    work.begin(start)
    if consensus:
        work.agree(checked_gain(gain))
    curve = []
    acceleration = Acceleration(work) if accelerate else None
    for number in range(1, iterations + 1):
        if acceleration is not None:
            acceleration.guess(number)
        divergence = work.divide()
        change = work.multiply(variation)
        if acceleration is not None:
            acceleration.learn()
        curve.append(Iteration(divergence, change, work.agreed))
        if progress is not None:
            progress(number, curve[-1])
        if work.agreed < LEAST_AGREED:
            break
    left = work.residual() if residual else None
    return Deconvolution(work.acquired_part(), tuple(curve), left)


def bytes_for(
    shape: Sequence[int],
    psf_shape: Sequence[int],
    edges: Edges = "valid",
    accelerate: bool = False,
    consensus: bool = False,
) -> int:
    """What `deconvolve` takes beside the image, bytes."""
    voxels = math.prod(computed_shape(shape, psf_shape, edges))
    return _bytes_a_voxel(_ARRAYS, accelerate, consensus) * voxels


def device_bytes_for(
    shape: Sequence[int],
    psf_shape: Sequence[int],
    edges: Edges = "valid",
    accelerate: bool = False,
    consensus: bool = False,
) -> int:
    """What `deconvolve` takes of a GPU's memory, bytes."""
    voxels = math.prod(computed_shape(shape, psf_shape, edges))
    each = _bytes_a_voxel(_DEVICE_ARRAYS, accelerate, consensus)
    return each * voxels + min(_SLABS, 8 * 4 * voxels)


def _bytes_a_voxel(arrays: float, accelerate: bool, consensus: bool) -> int:
    """Of so many arrays, and of those that acceleration and consensus ask for."""
    more = _ARRAYS_TO_ACCELERATE * accelerate + _ARRAYS_TO_AGREE * consensus
    return math.ceil((arrays + more) * 4)


def _check_parameters(
    iterations: int,
    edges: str,
    background: float,
) -> None:
    if edges not in EDGES:
        raise BadInput("edges", expected=f"one of {', '.join(EDGES)}", found=repr(edges))
    if not iterations >= 0:
        raise BadInput("iterations", expected="0 or more", found=f"{iterations}")
    if not 0 <= background < math.inf:
        raise BadInput("background", expected="0 or more", found=f"{background:g}")
