"""Drawing star-convex polyhedra into volumes."""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.segmentation.stardist.polyhedra import Polyhedra, fill_corners
from cellmill.segmentation.stardist.voxels import set_voxels, words_of


def draw_volume(
    objects: Polyhedra,
    score: np.ndarray,
    labels: np.ndarray,
    numbers: np.ndarray | None = None,
    origin: tuple[int, ...] = (0, 0, 0),
) -> None:
    """Draw polyhedra with their numbers, the likeliest on top.

    A voxel belongs to a polyhedron if its middle lies within it or on its surface. Of polyhedra of
    one probability the last lies on top, as in StarDist.

    Args:
        objects: in order of rank.
        score: `(N,)`, their probabilities.
        labels: integers `(Z, Y, X)`, a window of the volume, drawn on.
        numbers: `(N,)`; none is from 1 on.
        origin: z, y, x where the window begins.
    """
    order = np.argsort(score, kind="stable")
    step = max(1, -(-len(labels) // (4 * thread_count())))
    numbers = np.arange(1, len(objects) + 1) if numbers is None else numbers
    (z0, y0, x0), (depth, height, width) = origin, labels.shape

    def part(first: int) -> None:
        last = min(first + step, depth) - 1
        edges = (z0 + first, z0 + last, y0, y0 + height - 1, x0, x0 + width - 1)
        _draw(objects.arrays, order, numbers, labels, np.array((*edges, *origin)))

    in_threads(part, range(0, depth, step))


@kernel
def _draw(polyhedra, order, numbers, labels, limits):  # type: ignore[no-untyped-def]
    """Draw within limits, labels beginning at the corner of `limits[6:]`."""
    corners = np.empty(polyhedra[2].shape, np.float32)
    z0, y0, x0 = limits[6:]
    for i in order:
        box = polyhedra[5][i].copy()
        for axis in range(3):
            box[2 * axis] = max(box[2 * axis], limits[2 * axis])
            box[2 * axis + 1] = min(box[2 * axis + 1], limits[2 * axis + 1])
        if box[0] > box[1] or box[2] > box[3] or box[4] > box[5]:
            continue
        fill_corners(polyhedra[0], polyhedra[1], polyhedra[2], i, corners)
        bits = np.zeros(words_of(box), np.uint64)
        doubtful = np.zeros(words_of(box), np.uint64)
        set_voxels(polyhedra[0][i], corners, polyhedra[3], box, bits, doubtful)
        start = (box[4] >> 6) << 6
        for z in range(box[0], box[1] + 1):
            for y in range(box[2], box[3] + 1):
                line, unsure = bits[z - box[0], y - box[2]], doubtful[z - box[0], y - box[2]]
                for x in range(box[4], box[5] + 1):
                    word, bit = (x - start) >> 6, np.uint64((x - start) & 63)
                    within = (line[word] >> bit) & np.uint64(1)
                    if not within and (unsure[word] >> bit) & np.uint64(1):
                        # Between two tetrahedra rounding may leave a voxel out of both.
                        within = np.uint64(_in_kernel(z, y, x, corners, polyhedra[3]))
                    if within:
                        labels[z - z0, y - y0, x - x0] = numbers[i]


@kernel
def _in_kernel(z, y, x, corners, faces):  # type: ignore[no-untyped-def]
    """Whether a voxel lies behind the planes of all faces."""
    for face in faces:
        a, b, c = corners[face[0]], corners[face[1]], corners[face[2]]
        pz, py, px = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        qz, qy, qx = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nz, ny, nx = -(py * qx - px * qy), -(px * qz - pz * qx), -(pz * qy - py * qz)
        offset = -(a[0] * nz + a[1] * ny + a[2] * nx)
        if np.float64(nz) * z + np.float64(ny) * y + np.float64(nx) * x + np.float64(offset) > 0:
            return False
    return True
