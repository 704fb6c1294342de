"""Synthetic electron microscopy: cells with membranes, organelles, and how a microscope shows them.

SYNTHETIC, for trying and testing: cells are those of points drawn at random (Voronoi), their walls
bent by a smooth field. The same tissue can be shown in any look, so that the map from one to the
other is known; and where membranes are is known for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.spatial

from cellmill.errors import BadInput

#: Voxels of a slab whose nearest points are looked up at a time.
_SLAB = 1 << 21


@dataclass(frozen=True)
class Tissue:
    """What there is to see.

    Args:
        labels: `(Z, Y, X)` int32, the cell of each voxel, from 1.
        membranes: bool, within half a membrane of another cell.
        organelles: float32 from 0 to 1, vesicles and mitochondria.
    """

    labels: np.ndarray
    membranes: np.ndarray
    organelles: np.ndarray


@dataclass(frozen=True)
class Look:
    """How tissue is shown; brightness from 0 (black) to 1.

    Args:
        cytoplasm: brightness.
        membrane: brightness.
        organelle: brightness.
        variation: standard deviation of the cytoplasm's brightness from cell to cell.
        blur: standard deviation, voxels.
        noise: standard deviation of each voxel's noise.
        grain: standard deviation of noise that is smooth over a voxel.
        gamma: exponent of the brightness.
    """

    cytoplasm: float = 0.7
    membrane: float = 0.2
    organelle: float = 0.4
    variation: float = 0.03
    blur: float = 0.6
    noise: float = 0.02
    grain: float = 0.02
    gamma: float = 1.0


LOOK_Y = Look()
"""Sharp and of high contrast, as volumes that networks were trained on."""

LOOK_X = Look(
    cytoplasm=0.6,
    membrane=0.3,
    organelle=0.4,
    blur=0.8,
    noise=0.15,
    grain=0.0,
    gamma=1.5,
)
"""Noisy, darker and of low contrast."""


def make_tissue(
    shape: Sequence[int], *, cell: float = 28.0, membrane: float = 2.5, seed: int = 0
) -> Tissue:
    """Draw tissue.

    Args:
        shape: `(Z, Y, X)`.
        cell: side of a cube as large as a cell is on average, voxels.
        membrane: width of a membrane, voxels.
        seed: the same gives the same tissue.

    Raises:
        BadInput: a size is impossible.
    """
    size = tuple(int(side) for side in shape)
    if len(size) != 3 or min(size) < 1:
        raise BadInput("shape", expected="(Z, Y, X), each above 0", found=f"{tuple(shape)}")
    if not (cell > 2 * membrane > 0):
        raise BadInput("cell", expected="more than two membranes wide", found=f"{cell:g}")
    random = np.random.default_rng(seed)
    low, high = np.full(3, -cell), np.array(size) + cell
    count = max(2, int(np.prod(high - low) / cell**3))
    points = random.uniform(low, high, (count, 3))
    bent = [_smooth(size, random, cell / 2) * cell / 8 for _ in range(3)]
    tree = scipy.spatial.cKDTree(points)
    labels, gap = np.empty(size, np.int32), np.empty(size, np.float32)
    step = max(1, _SLAB // (size[1] * size[2]))
    for start in range(0, size[0], step):
        part = slice(start, min(start + step, size[0]))
        grid = np.indices((part.stop - part.start, *size[1:]), np.float32)
        grid[0] += start
        places = np.stack([g + b[part] for g, b in zip(grid, bent, strict=True)], -1)
        distance, nearest = tree.query(places.reshape(-1, 3), k=2)
        labels[part] = nearest[:, 0].reshape(places.shape[:3]) + 1
        gap[part] = (distance[:, 1] - distance[:, 0]).reshape(places.shape[:3])
    membranes = gap < membrane
    spots = _smooth(size, random, 2.0) > 2.2
    large = _smooth(size, random, cell / 6) > 2.0
    inside = gap > 2 * membrane
    organelles = ((spots | large) & inside).astype(np.float32)
    return Tissue(labels, membranes, organelles)


def show(tissue: Tissue, look: Look, *, seed: int = 0) -> np.ndarray:
    """Show tissue in a look.

    Args:
        tissue: what there is.
        look: how it is shown.
        seed: of the noise.

    Returns:
        `(Z, Y, X)` uint8.
    """
    random = np.random.default_rng([seed, 1])
    cells = random.normal(0, look.variation, int(tissue.labels.max()) + 1).astype(np.float32)
    light = look.cytoplasm + cells[tissue.labels]
    light += (look.organelle - light) * tissue.organelles
    light[tissue.membranes] = look.membrane
    light = scipy.ndimage.gaussian_filter(light, look.blur)
    light += look.grain * _smooth(tissue.labels.shape, random, 1.0)
    light += random.normal(0, look.noise, light.shape).astype(np.float32)
    grey = np.clip(light, 0, 1) ** look.gamma * 255
    return np.rint(grey).astype(np.uint8)


def _smooth(shape: Sequence[int], random: np.random.Generator, width: float) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = random.normal(0, 1, shape).astype(np.float32)
    noise = scipy.ndimage.gaussian_filter(noise, width)
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-12), np.float32)
