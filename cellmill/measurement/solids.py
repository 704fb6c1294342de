"""Volume, position, shape and surface of every object of a volume, from sums over its planes.

A plane's sums are those of an image (`regions`); the depth joins them. The surface is Crofton's:
how often lines through the voxels, in the thirteen directions of neighbours, cross an object's
boundary (Legland, Kiêu and Devaux, Image Analysis & Stereology 26, 2007). Directions weigh as much
as the parts of the sphere that are nearest to them, so that voxels need not be cubes. Of balls it
is right within 2 % (4 % where planes lie twice as far apart as pixels); flat faces along the axes
come out a tenth too small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.spatial import SphericalVoronoi

from cellmill.compute.kernels import kernel
from cellmill.labels.grouping import group_by
from cellmill.measurement.regions import Regions

#: One of each pair of opposite steps to the 26 neighbours: z, y, x.
DIRECTIONS = np.array(
    [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
)


@dataclass(frozen=True)
class Solids:
    """What is summed up for each object of a volume, by ascending label.

    Args:
        labels: int64 `(N,)`.
        areas: voxels, int64 `(N,)`.
        boxes: half-open bounding boxes z0, y0, x0, z1, y1, x1 in voxels, int64 `(N, 6)`.
        moments: sums over the voxels of z, y, x, then of z², y², x², zy, zx, yx, int64 `(N, 9)`.
        crossings: how often lines of each of `DIRECTIONS` cross its boundary, int64 `(N, 13)`;
            beyond the volume there is no object.
    """

    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    moments: npt.NDArray[np.int64]
    crossings: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def centroids(self) -> npt.NDArray[np.float64]:
        """Mean z, y, x of the voxel centres, in voxels, `(N, 3)`."""
        return self.moments[:, :3] / self.areas[:, None]

    def axes(self, voxel: tuple[float, ...] = (1.0, 1.0, 1.0)) -> npt.NDArray[np.float64]:
        """Take the axes of the ellipsoid with the object's second central moments.

        Args:
            voxel: size of a voxel along z, y and x.

        Returns:
            Full lengths in the unit of `voxel`, the longest first, `(N, 3)`.
        """
        areas = self.areas
        sums = self.moments[:, :3]
        near = sums // areas[:, None]
        rest = (sums - near * areas[:, None]) / areas[:, None]
        spread = np.empty((len(areas), 3, 3))
        for place, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)), start=3):
            # About a whole voxel near the centroid: int64 may wrap on the way, the small result
            # is right.
            about = (
                self.moments[:, place]
                - near[:, a] * sums[:, b]
                - near[:, b] * sums[:, a]
                + areas * near[:, a] * near[:, b]
            )
            value = (about / areas - rest[:, a] * rest[:, b]) * voxel[a] * voxel[b]
            spread[:, a, b] = spread[:, b, a] = value
        values = np.linalg.eigvalsh(spread) if len(areas) else np.empty((0, 3))
        return np.sqrt(20 * np.maximum(values[:, ::-1], 0))

    def surfaces(self, voxel: tuple[float, ...] = (1.0, 1.0, 1.0)) -> npt.NDArray[np.float64]:
        """Estimate the surface of each object by Crofton's formula.

        Args:
            voxel: size of a voxel along z, y and x.

        Returns:
            In the square of the unit of `voxel`, `(N,)`.
        """
        lengths = np.linalg.norm(DIRECTIONS * np.array(voxel), axis=1)
        lines = np.prod(voxel) / lengths
        found: npt.NDArray[np.float64] = 2 * self.crossings @ (_weights(tuple(voxel)) * lines)
        return found


def solids_of_plane(regions: Regions, z: int, crossings: npt.NDArray[np.int64]) -> Solids:
    """What one plane adds to its objects.

    Args:
        regions: the plane's objects.
        z: its place.
        crossings: `(N, 13)`, of its pixels with all of their neighbours.
    """
    areas = regions.areas
    y, x, yy, xx, yx = regions.moments.T
    depth = np.full(len(areas), z, np.int64)
    boxes = np.column_stack([depth, regions.boxes[:, :2], depth + 1, regions.boxes[:, 2:]])
    moments = np.column_stack([z * areas, y, x, z * z * areas, yy, xx, z * y, z * x, yx])
    return Solids(regions.labels, areas, boxes, moments, crossings)


def add_solids(parts: Iterable[Solids]) -> Solids:
    """Add up the sums of disjoint parts of a volume."""
    tables = list(parts)
    joined = {
        each.name: np.concatenate([getattr(table, each.name) for table in tables])
        for each in fields(Solids)
    }
    groups = group_by(joined["labels"])
    boxes = joined["boxes"]
    return Solids(
        groups.keys,
        groups.sum(joined["areas"]),
        np.concatenate([groups.min(boxes[:, :3]), groups.max(boxes[:, 3:])], axis=1),
        groups.sum(joined["moments"]),
        groups.sum(joined["crossings"]),
    )


def count_crossings(
    planes: npt.NDArray, ranks: npt.NDArray[np.int32], count: int
) -> npt.NDArray[np.int64]:
    """Count where lines leave the objects of a plane.

    Args:
        planes: labels `(3, Y + 2, X + 2)`: the plane between its neighbours, with a rim of zeros.
        ranks: for each pixel of the plane its object, numbered from 1, or 0, `(Y, X)`.
        count: how many objects there are.

    Returns:
        int64 `(count, 13)`, both ways of each of `DIRECTIONS` together.
    """
    out = np.zeros((count, len(DIRECTIONS)), np.int64)
    _count_crossings(planes, ranks, DIRECTIONS, out)
    return out


@kernel
def _count_crossings(planes, ranks, directions, out):  # type: ignore[no-untyped-def]
    height, width = ranks.shape
    for y in range(height):
        for x in range(width):
            rank = ranks[y, x]
            if rank == 0:
                continue
            own = planes[1, y + 1, x + 1]
            for k in range(len(directions)):
                dz, dy, dx = directions[k]
                there = planes[1 + dz, y + 1 + dy, x + 1 + dx] != own
                back = planes[1 - dz, y + 1 - dy, x + 1 - dx] != own
                out[rank - 1, k] += np.int64(there) + np.int64(back)


@lru_cache(16)
def _weights(voxel: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Which part of all directions is nearest to each of `DIRECTIONS`, up to its sign."""
    points = DIRECTIONS * np.array(voxel)
    points = points / np.linalg.norm(points, axis=1)[:, None]
    areas = SphericalVoronoi(np.concatenate([points, -points])).calculate_areas()
    both = areas[: len(points)] + areas[len(points) :]
    parts: npt.NDArray[np.float64] = both / both.sum()
    return parts
