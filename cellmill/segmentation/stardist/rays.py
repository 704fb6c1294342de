"""Directions in which distances to an object's edge are given in volumes, and the faces between.

Directions lie on a golden spiral, as StarDist's `Rays_GoldenSpiral` has them (Weigert et al., WACV
2020): they are spread evenly over a sphere that the anisotropy squeezes, and have length 1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from cellmill.errors import BadInput

#: Fewer directions span no volume.
_FEWEST = 4


@dataclass(frozen=True)
class Rays:
    """Directions and the triangles between neighbouring ones.

    Attributes:
        vertices: `(R, 3)` float32 unit vectors, z, y, x.
        faces: `(F, 3)` int64, places in `vertices`, all turned the same way.
    """

    vertices: np.ndarray
    faces: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)


@functools.lru_cache(maxsize=16)
def golden_spiral(count: int, anisotropy: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Rays:
    """The directions on a golden spiral.

    Args:
        count: how many.
        anisotropy: how many times farther apart voxels are along Z, Y, X than along another axis:
            objects have so many times fewer voxels there.

    Raises:
        BadInput: there are fewer than four.
    """
    if count < _FEWEST:
        raise BadInput("rays of a volume", expected=f"at least {_FEWEST}", found=f"{count}")
    turn = (3.0 - np.sqrt(5.0)) * np.pi * np.arange(count)
    z = np.linspace(-1, 1, count)
    radius = np.sqrt(1.0 - z**2)
    places = np.stack([z, radius * np.sin(turn), radius * np.cos(turn)], axis=1)
    places = places / np.array(anisotropy)
    faces = ConvexHull(places).simplices.astype(np.int64)
    outwards = np.linalg.det(places[faces]) > 0
    faces[outwards] = faces[outwards, ::-1]
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    return Rays(places.astype(np.float32), faces)
