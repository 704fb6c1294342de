"""What happens to sections of electron microscopy, for crops that are trained on.

A crop is bent elastically, as tissue is by cutting and by the beam; sections are missing, folded or
dark. Each follows from what is drawn alone, so that a seed gives the same crop again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from cellmill.errors import BadInput

#: Distance of the points between which a bend is interpolated, voxels.
_SPACING = 24
#: Least and greatest of what a fold hides, of the width of its shadow (voxels) and of how much
#: light is left in it; of what is left of a dark section's contrast and of its brightness.
_HIDDEN, _SHADOW, _SHADE = (4.0, 16.0), (2.0, 6.0), (0.1, 0.5)
_CONTRAST, _BRIGHTNESS = (0.4, 0.8), (0.3, 0.8)


@dataclass(frozen=True)
class Defects:
    """How often crops are bent and spoilt.

    Args:
        warp: standard deviation of what a crop's voxels are moved by along each axis that it has
            more than one voxel of; 0 bends none. Where the crop ends it is mirrored.
        missing: part of the sections that are missing (0 everywhere), of crops of several sections.
        folds: part of the sections that have a fold: a dark line, behind it tissue from further on.
        dark: part of the sections that are darker and of lower contrast.
    """

    warp: float = 0.0
    missing: float = 0.0
    folds: float = 0.0
    dark: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warp < np.inf:
            raise BadInput("warp", expected="0 or more", found=f"{self.warp}")
        for name in ("missing", "folds", "dark"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(name, expected="0 to 1", found=f"{getattr(self, name)}")

    def __bool__(self) -> bool:
        return any((self.warp, self.missing, self.folds, self.dark))

    def applied(self, crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Bend and spoil a crop.

        Args:
            crop: `(Z, Y, X)` uint8, a section each z.
            random: what is drawn from; as much is drawn whatever the parts are.
        """
        seeds = random.integers(1 << 62, size=2 + len(crop))
        if self.warp:
            crop = _warped(crop, self.warp, np.random.default_rng(seeds[0]))
        chances = np.random.default_rng(seeds[1]).random((3, len(crop)))
        missing, folded, dark = chances < np.array([[self.missing], [self.folds], [self.dark]])
        if len(crop) == 1:
            missing[:] = False
        spoilt = crop.copy()
        for z in np.flatnonzero(missing | folded | dark):
            own = np.random.default_rng(seeds[2 + z])
            if folded[z]:
                spoilt[z] = _folded(spoilt[z], own)
            if dark[z]:
                spoilt[z] = _darkened(spoilt[z], own)
            if missing[z]:
                spoilt[z] = 0
        return spoilt


def _warped(crop: np.ndarray, sd: float, random: np.random.Generator) -> np.ndarray:
    """A crop bent by displacements at points of a grid, cubic between them."""
    places = np.indices(crop.shape, np.float32)
    points = [max(2, -(-n // _SPACING) + 1) if n > 1 else 1 for n in crop.shape]
    at = [np.linspace(0, count - 1, n) for count, n in zip(points, crop.shape, strict=True)]
    grid = np.meshgrid(*at, indexing="ij")
    for axis, side in enumerate(crop.shape):
        moves = random.normal(0, sd, points)
        if side == 1:
            continue
        places[axis] += scipy.ndimage.map_coordinates(moves, grid, order=3, mode="nearest")
    bent = scipy.ndimage.map_coordinates(crop.astype(np.float32), places, order=1, mode="mirror")
    return np.rint(bent).astype(np.uint8)


def _folded(section: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A section with a fold across it, at any place and angle."""
    angle = random.uniform(0, np.pi)
    hidden, shadow = random.uniform(*_HIDDEN), random.uniform(*_SHADOW)
    shade = random.uniform(*_SHADE)
    across = np.array([np.sin(angle), np.cos(angle)])
    place = random.uniform(0, 1, 2) * section.shape
    y, x = np.indices(section.shape, np.float32)
    distance = (y - place[0]) * across[0] + (x - place[1]) * across[1]
    beyond = (distance > 0) * hidden
    moved = scipy.ndimage.map_coordinates(
        section.astype(np.float32),
        [y + beyond * across[0], x + beyond * across[1]],
        order=1,
        mode="mirror",
    )
    moved[np.abs(distance) <= shadow / 2] *= shade
    return np.rint(moved).astype(np.uint8)


def _darkened(section: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A section with less light and less contrast."""
    contrast, brightness = random.uniform(*_CONTRAST), random.uniform(*_BRIGHTNESS)
    mean = float(section.mean())
    dimmed = (mean + (section.astype(np.float32) - mean) * contrast) * brightness
    return np.rint(dimmed).astype(np.uint8)
