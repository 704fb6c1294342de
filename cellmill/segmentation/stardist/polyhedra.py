"""Star-convex polyhedra: volumes, boxes, spheres within and around, and what those say of overlaps.

A polyhedron has a corner on each ray, and the tetrahedra between its centre and its faces make it
up (Weigert et al., WACV 2020). All is computed in single precision, each operation rounded, as
StarDist 0.9 does, whose suppression goes by these numbers before it looks at voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.segmentation.stardist.rays import Rays

_ZERO, _TWO, _THREE, _SIX = (np.float32(each) for each in (0, 2, 3, 6))
#: What the reference adds to volumes before it divides by them, and takes for no overlap.
_TINY = 1e-10


@dataclass(frozen=True)
class Polyhedra:
    """Polyhedra and their measures.

    Attributes:
        centres: `(N, 3)` float32, z, y, x in voxels.
        lengths: `(N, R)` float32, distances along the rays.
        vertices: `(R, 3)` float32, the rays.
        faces: `(F, 3)` int64.
        volumes: `(N,)` float32.
        boxes: `(N, 6)` int64: least and greatest z, y, x of rounded corners, both within.
        outer: `(N,)` float32, radii of spheres around them, axes stretched by the anisotropy.
        inner: `(N,)` float32, radii of spheres that lie within.
        anisotropy: `(3,)` float32: how many times longer than along each axis polyhedra are along
            the longest, on average of all of the volume.
    """

    centres: np.ndarray
    lengths: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    volumes: np.ndarray
    boxes: np.ndarray
    outer: np.ndarray
    inner: np.ndarray
    anisotropy: np.ndarray

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, for kernels."""
        return (
            self.centres,
            self.lengths,
            self.vertices,
            self.faces,
            self.volumes,
            self.boxes,
            self.outer,
            self.inner,
            self.anisotropy,
        )

    def corners(self, i: int) -> np.ndarray:
        """`(R, 3)` float32, the corners of one."""
        found = self.lengths[i][:, np.newaxis] * self.vertices
        corners: np.ndarray = self.centres[i] + found
        return corners


def polyhedra_of(
    points: np.ndarray, lengths: np.ndarray, rays: Rays, anisotropy: np.ndarray | None = None
) -> Polyhedra:
    """Measure polyhedra.

    Args:
        points: `(N, 3)` centres in voxels.
        lengths: `(N, R)` float32, above 0.
        rays: their directions.
        anisotropy: of all polyhedra of the volume, if these are not all; see `anisotropy_of`.
    """
    shapes, volumes, boxes = _measured(points, lengths, rays)
    if anisotropy is None:
        anisotropy = anisotropy_of(add_sides(np.zeros(3, np.float32), sides_of(boxes), len(boxes)))
    outer, inner = np.empty(len(boxes), np.float32), np.empty(len(boxes), np.float32)
    cuts = bands(len(boxes), 256)
    in_threads(lambda cut: _radii(*shapes, anisotropy, outer, inner, *cut), cuts)
    return Polyhedra(*shapes, volumes, boxes, outer, inner, anisotropy)


def boxes_of(points: np.ndarray, lengths: np.ndarray, rays: Rays) -> np.ndarray:
    """The boxes of polyhedra, `(N, 6)`; see `Polyhedra`."""
    return _measured(points, lengths, rays)[2]


def sides_of(boxes: np.ndarray) -> np.ndarray:
    """How far it is from the least to the greatest z, y, x of boxes, `(N, 3)` int64."""
    return boxes[:, 1::2] - boxes[:, ::2]


def _measured(
    points: np.ndarray, lengths: np.ndarray, rays: Rays
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """What kernels take, volumes, and boxes."""
    centres = np.ascontiguousarray(points, np.float32)
    lengths = np.ascontiguousarray(lengths, np.float32)
    volumes, boxes = np.empty(len(points), np.float32), np.empty((len(points), 6), np.int64)
    shapes = centres, lengths, rays.vertices, rays.faces
    in_threads(lambda cut: _measure(*shapes, volumes, boxes, *cut), bands(len(points), 256))
    return shapes, volumes, boxes


@kernel
def add_sides(mean, sides, count):  # type: ignore[no-untyped-def]
    """Add some polyhedra's part to mean sides, in order of rank, as StarDist 0.9 does.

    Each sum is rounded to single precision: the order counts, not where it is interrupted.

    Args:
        mean: `(3,)` float32, of those before; changed.
        sides: `(N, 3)` int64, along z, y, x.
        count: how many polyhedra there are in all.
    """
    every = np.float32(count)
    for i in range(len(sides)):
        for axis in range(3):
            mean[axis] += np.float32(sides[i, axis]) / every
    return mean


@kernel
def anisotropy_of(mean):  # type: ignore[no-untyped-def]
    """How many times longer than along each axis polyhedra are along the longest, `(3,)`.

    Args:
        mean: `(3,)` float32, the mean sides of all of a volume; see `add_sides`.
    """
    return max(mean[0], mean[1], mean[2]) / mean


@kernel
def fill_corners(centres, lengths, vertices, i, corners):  # type: ignore[no-untyped-def]
    """Write the corners of polyhedron `i`, `(R, 3)` float32."""
    for k in range(len(vertices)):
        for axis in range(3):
            corners[k, axis] = centres[i, axis] + lengths[i, k] * vertices[k, axis]


@kernel
def certain(polyhedra, i, j, threshold):  # type: ignore[no-untyped-def]
    """What spheres and boxes say: 0, that two do not overlap, 1, that they do, or 2, neither."""
    centres, volumes, boxes, outer, inner = (
        polyhedra[0],
        polyhedra[4],
        polyhedra[5],
        polyhedra[6],
        polyhedra[7],
    )
    anisotropy = polyhedra[8]
    smaller = np.float64(min(volumes[i], volumes[j])) + _TINY
    most = _shared_by_spheres(outer[i], outer[j], centres[i], centres[j], anisotropy)
    box = _shared_by_boxes(boxes[i], boxes[j])
    if not most <= box:
        most = box
    part = np.float32(min(1.0, np.float64(most) / smaller))
    if most < _TINY or part <= threshold:
        return 0
    least = _shared_by_spheres(inner[i], inner[j], centres[i], centres[j], anisotropy)
    if np.float32(max(0.0, np.float64(least) / smaller)) > threshold:
        return 1
    return 2


@kernel
def _shared_by_boxes(one, other):  # type: ignore[no-untyped-def]
    sides = np.ones(3, np.float32)
    for axis in range(3):
        high = min(one[2 * axis + 1], other[2 * axis + 1])
        sides[axis] = max(0, high - max(one[2 * axis], other[2 * axis]))
    return sides[2] * sides[1] * sides[0]


@kernel
def _shared_by_spheres(r1, r2, p1, p2, anisotropy):  # type: ignore[no-untyped-def]
    dz = anisotropy[0] * (p1[0] - p2[0])
    dy = anisotropy[1] * (p1[1] - p2[1])
    dx = anisotropy[2] * (p1[2] - p2[2])
    d = np.float32(np.sqrt(dz * dz + dy * dy + dx * dx))
    if d > r1 + r2:
        return _ZERO
    small, large = min(r1, r2), max(r1, r2)
    if np.float64(large) >= np.float64(d + small) - _TINY:
        return np.float32(np.pi * 4.0 / 3.0 * small * small * small)
    t = (r1 + r2 - d) / _TWO / d
    h1, h2 = (r2 - r1 + d) * t, (r1 - r2 + d) * t
    v1 = np.float32(np.pi / 3.0 * h1 * h1 * np.float64(_THREE * r1 - h1))
    v2 = np.float32(np.pi / 3.0 * h2 * h2 * np.float64(_THREE * r2 - h2))
    return (v1 + v2) / (anisotropy[0] * anisotropy[1] * anisotropy[2])


@kernel
def _measure(centres, lengths, vertices, faces, volumes, boxes, start, stop):  # type: ignore[no-untyped-def]
    own = np.empty(vertices.shape, np.float32)
    for i in range(start, stop):
        for axis in range(3):
            boxes[i, 2 * axis], boxes[i, 2 * axis + 1] = 2147483647, -1
        for k in range(len(vertices)):
            for axis in range(3):
                own[k, axis] = lengths[i, k] * vertices[k, axis]
                place = np.int64(np.rint(centres[i, axis] + own[k, axis]))
                boxes[i, 2 * axis] = min(boxes[i, 2 * axis], place)
                boxes[i, 2 * axis + 1] = max(boxes[i, 2 * axis + 1], place)
        volume = _ZERO
        for face in faces:
            volume += _tetrahedron(own[face[0]], own[face[1]], own[face[2]])
        volumes[i] = volume


@kernel
def _tetrahedron(a, b, c):  # type: ignore[no-untyped-def]
    """The volume between the origin and a face."""
    m00, m01, m02 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    m10, m11, m12 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    m20, m21, m22 = _ZERO - a[0], _ZERO - a[1], _ZERO - a[2]
    det = (
        m00 * (m11 * m22 - m21 * m12)
        - m01 * (m10 * m22 - m12 * m20)
        + m02 * (m10 * m21 - m11 * m20)
    )
    return det / _SIX


@kernel
def _radii(centres, lengths, vertices, faces, anisotropy, outer, inner, start, stop):  # type: ignore[no-untyped-def]
    own = np.empty(vertices.shape, np.float32)
    for i in range(start, stop):
        farthest = _ZERO
        for k in range(len(vertices)):
            for axis in range(3):
                own[k, axis] = anisotropy[axis] * lengths[i, k] * vertices[k, axis]
            z, y, x = own[k]
            farthest = max(farthest, z * z + y * y + x * x)
        outer[i] = np.float32(np.sqrt(farthest))
        nearest = np.float32(np.inf)
        for face in faces:
            nearest = min(nearest, _distance(own[face[0]], own[face[1]], own[face[2]]))
        inner[i] = nearest


@kernel
def _distance(a, b, c):  # type: ignore[no-untyped-def]
    """How far the plane of a face is from the origin, below 0 if it is turned inwards."""
    pz, py, px = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    qz, qy, qx = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    nz, ny, nx = px * qy - py * qx, pz * qx - px * qz, py * qz - pz * qy
    length = np.float64(np.float32(np.sqrt(nz * nz + ny * ny + nx * nx)))
    part = np.float32(1.0 / (length + _TINY))
    nz, ny, nx = nz * part, ny * part, nx * part
    return a[0] * nz + a[1] * ny + a[2] * nx
