"""Made two-channel tissue: cells with nuclei, their images and their truth.

Everything here is drawn with numpy and scipy from a seed, so that the conformance model can be
trained and compared from nothing, in deepcell's environment as well as in ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Microns per pixel at which a cell of `scale=1` is drawn: Mesmer's.
MPP = 0.5


@dataclass(frozen=True)
class Tissue:
    """One made field of view.

    Attributes:
        image: `(Y, X, 2)` float32 in 0–1: nuclear stain, membrane stain.
        whole_cell: `(Y, X)` int32 labels of the cells.
        nuclear: `(Y, X)` int32 labels of the nuclei, numbered as their cells.
    """

    image: NDArray[np.float32]
    whole_cell: NDArray[np.int32]
    nuclear: NDArray[np.int32]


def draw_tissue(
    seed: int, shape: tuple[int, int], *, scale: float = 1.0, coverage: float = 0.7
) -> Tissue:
    """Draw cells that touch where they meet, each with one nucleus.

    A cell is the set of pixels nearer to its centre than to any other, in units of its own
    wobbling radius, and within that radius; a nucleus is a smaller wobbling disc inside it.

    Args:
        seed: seed of everything random in the picture.
        shape: (Y, X) in pixels.
        scale: size of the cells in units of 30 px across.
        coverage: how densely cells are thrown, about the fraction of the area they cover.

    Returns:
        the image and both label images.
    """
    rng = np.random.default_rng(seed)
    distance = np.full(shape, np.inf, dtype=np.float32)
    whole_cell = np.zeros(shape, dtype=np.int32)
    nuclei: list[tuple[float, float, float, NDArray[np.float64]]] = []
    for y, x, radius in _throw_centres(rng, shape, 15.0 * scale, coverage):
        label = len(nuclei) + 1
        window = _window(y, x, 1.5 * radius, shape)
        rho = _wobbling_distance(window, y, x, radius, _wobble(rng, 0.12))
        nearer = (rho < 1) & (rho < distance[window])
        whole_cell[window][nearer] = label
        distance[window][nearer] = rho[nearer]
        shift = rng.normal(0, 0.08 * radius, size=2)
        nuclei.append(
            (y + shift[0], x + shift[1], radius * rng.uniform(0.45, 0.6), _wobble(rng, 0.05))
        )

    nuclear = np.zeros(shape, dtype=np.int32)
    nuclear_light = np.zeros(shape, dtype=np.float32)
    membrane_light = np.zeros(shape, dtype=np.float32)
    edges = _edges(whole_cell)
    for label, (y, x, radius, wobble) in enumerate(nuclei, start=1):
        window = _window(y, x, 4 * radius, shape)
        cell = whole_cell[window] == label
        nucleus = cell & (_wobbling_distance(window, y, x, radius, wobble) < 1)
        nuclear[window][nucleus] = label
        nuclear_light[window][nucleus] = rng.uniform(0.35, 1.0)
        membrane_light[window][cell] = rng.uniform(0.1, 0.35)
        membrane_light[window][cell & edges[window]] = rng.uniform(0.5, 1.0)

    image = np.stack(
        [
            _as_seen(rng, nuclear_light, texture=0.35, photons=300.0),
            _as_seen(rng, membrane_light, texture=0.2, photons=200.0),
        ],
        axis=-1,
    )
    return Tissue(image=image, whole_cell=whole_cell, nuclear=nuclear)


def as_integers(image: NDArray[np.float32], dtype: type[np.integer]) -> NDArray[np.integer]:
    """Give the image as a camera would: 8 bits, or 12 of 16 bits, with a pedestal."""
    top, pedestal = (255, 4) if dtype is np.uint8 else (4095, 100)
    return np.clip(image * (top - pedestal) + pedestal, 0, top).astype(dtype)


def _throw_centres(
    rng: np.random.Generator, shape: tuple[int, int], radius: float, coverage: float
) -> list[tuple[float, float, float]]:
    """Give (y, x, radius) of cells thrown at random, none on top of another."""
    wanted = int(coverage * shape[0] * shape[1] / (np.pi * radius**2)) + 1
    kept: list[tuple[float, float, float]] = []
    for _ in range(30 * wanted):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        r = radius * rng.uniform(0.75, 1.2)
        if all(np.hypot(y - v, x - u) > 0.75 * (r + s) for v, u, s in kept):
            kept.append((y, x, r))
            if len(kept) == wanted:
                break
    return kept


def _window(y: float, x: float, reach: float, shape: tuple[int, int]) -> tuple[slice, slice]:
    return (
        slice(max(0, int(y - reach)), min(shape[0], int(y + reach) + 2)),
        slice(max(0, int(x - reach)), min(shape[1], int(x + reach) + 2)),
    )


def _wobble(rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """Give the Fourier coefficients (order 2–4; cosine, sine) of an outline's radius."""
    return rng.normal(0, strength, size=(3, 2)) / np.array([[1.0], [1.5], [2.0]])


def _wobbling_distance(
    window: tuple[slice, slice], y: float, x: float, radius: float, wobble: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Give the distance from (y, x) in units of the outline's radius in that direction."""
    rows, columns = np.ogrid[window]
    angle = np.arctan2(rows - y, columns - x)
    outline = np.ones(angle.shape)
    for order, (cosine, sine) in enumerate(wobble, start=2):
        outline += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    outline = radius * np.clip(outline, 0.5, 1.5)
    return (np.hypot(rows - y, columns - x) / outline).astype(np.float32)


def _edges(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the pixels of objects that touch another label or the background."""
    highest = ndimage.maximum_filter(labels, size=3)
    lowest = ndimage.minimum_filter(labels, size=3)
    return (labels > 0) & (highest != lowest)


def _as_seen(
    rng: np.random.Generator, light: NDArray[np.float32], *, texture: float, photons: float
) -> NDArray[np.float32]:
    """Give light as a microscope records it: textured, blurred, hazy, noisy; 0–1."""
    grain = ndimage.gaussian_filter(rng.normal(size=light.shape), 1.5)
    grain = grain / max(float(grain.std()), 1e-6)
    seen = ndimage.gaussian_filter(light * np.clip(1 + texture * grain, 0.2, 1.8), 0.8)
    seen = 0.9 * seen + 0.15 * ndimage.gaussian_filter(light, 12.0) + 0.02
    noisy = rng.poisson(seen * photons) / photons
    return np.clip(noisy / 1.6, 0.0, 1.0).astype(np.float32)
