"""StarDist's post-processing of a volume in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import in_threads, thread_count
from cellmill.errors import BadInput
from cellmill.labels.numbering import canonical_labels, dense_labels
from cellmill.segmentation.interface import Maps, Numbering
from cellmill.segmentation.stardist.candidates import SHORTEST, ray_count, strides_of
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import Polyhedra, fill_corners, polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes
from cellmill.segmentation.stardist.voxels import set_voxels, words_of

#: Of the box of a polyhedron: its bits take an eighth of that, bytes.
_MOST_VOXELS = 1 << 32


@dataclass(frozen=True)
class VolumeCandidates:
    """Candidates of a volume, the most likely first; of equal ones the first in raster order.

    Attributes:
        points: `(N, 3)` int64, z, y, x of the centres in voxels.
        score: `(N,)` float32, probabilities.
        rays: `(N, R)` float32, distances to the edge along the rays, in voxels.
    """

    points: np.ndarray
    score: np.ndarray
    rays: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: np.ndarray) -> VolumeCandidates:
        """Some of them, by a mask or by places in ascending order."""
        return VolumeCandidates(self.points[chosen], self.score[chosen], self.rays[chosen])


def segment_volume(
    maps: Maps, parameters: StarDistParameters, numbering: Numbering = "canonical"
) -> np.ndarray:
    """Segment a volume in memory.

    Args:
        maps: of the roles `probability` `(Z, Y, X)` and `distances` `(Z, Y, X, R)`, along the rays
            of a golden spiral of the parameters' anisotropy.
        parameters: all thresholds.
        numbering: `canonical`, or `reference`: by falling probability.

    Returns:
        `(Z, Y, X)` int32 labels, 1…n. An object that others cover wholly is not there.

    Raises:
        BadInput: a map holds NaN or infinity, maps do not fit together, or distances are absurd.
    """
    labels = np.zeros(maps.shape, np.int32)
    if not labels.size:
        return labels
    rays = golden_spiral(ray_count(maps), parameters.anisotropy)
    every = find_volume_candidates(maps, parameters)
    polyhedra = polyhedra_of(every.points, every.rays, rays)
    _check_sizes(polyhedra, maps)
    kept = suppress_volumes(polyhedra, parameters.nms_threshold)
    objects = every[kept]
    draw_volume(polyhedra_of(objects.points, objects.rays, rays), objects.score, labels)
    return canonical_labels(labels) if numbering == "canonical" else dense_labels(labels)


def find_volume_candidates(maps: Maps, parameters: StarDistParameters) -> VolumeCandidates:
    """Find the candidates of a volume.

    Raises:
        BadInput: a map holds NaN or infinity, or the maps have different strides.
    """
    strides = np.array(strides_of(maps))
    probability = np.asarray(maps.read("probability"), np.float32)
    inner = tuple(slice(parameters.border, side - parameters.border) for side in probability.shape)
    likely = np.zeros(probability.shape, np.bool_)
    if all(part.stop > part.start for part in inner):
        likely[inner] = probability[inner] > np.float32(parameters.prob_threshold)
    points = np.argwhere(likely)
    score = probability[likely]
    lengths = np.empty((len(points), ray_count(maps)), np.float32)
    start = 0
    for z, plane in enumerate(likely):
        # Rays of a plane are many times its voxels: no more than one is held.
        distances = np.asarray(maps["distances"][z])
        require_finite(distances, maps.names["distances"])
        stop = start + int(np.count_nonzero(plane))
        lengths[start:stop] = distances[plane]
        start = stop
    order = np.argsort(-score, kind="stable")
    return VolumeCandidates(
        points[order] * strides, score[order], np.maximum(lengths[order], SHORTEST)
    )


def draw_volume(objects: Polyhedra, score: np.ndarray, labels: np.ndarray) -> None:
    """Draw polyhedra with their numbers from 1 on, the likeliest on top.

    A voxel belongs to a polyhedron if its middle lies within it or on its surface. Of polyhedra of
    one probability the last lies on top, as in StarDist.

    Args:
        objects: in order of rank.
        score: `(N,)`, their probabilities.
        labels: int32 `(Z, Y, X)`, drawn on.
    """
    order = np.argsort(score, kind="stable")
    step = max(1, -(-len(labels) // (4 * thread_count())))

    def part(first: int) -> None:
        _draw(objects.arrays, order, labels, first, min(first + step, len(labels)) - 1)

    in_threads(part, range(0, len(labels), step))


def _check_sizes(polyhedra: Polyhedra, maps: Maps) -> None:
    """Refuse polyhedra of which one would take more memory than there may be."""
    sides = polyhedra.boxes[:, 1::2] - polyhedra.boxes[:, ::2] + 1
    if len(sides) and (sides.prod(axis=1, dtype=np.float64) > _MOST_VOXELS).any():
        longest = float(polyhedra.lengths.max())
        raise BadInput(
            maps.names["distances"],
            expected=f"polyhedra within boxes of up to {_MOST_VOXELS:,} voxels",
            found=f"distances up to {longest:g}",
        )


@kernel
def _draw(polyhedra, order, labels, first, last):  # type: ignore[no-untyped-def]
    """Draw on the planes from `first` to `last`."""
    corners = np.empty(polyhedra[2].shape, np.float32)
    sides = labels.shape
    for i in order:
        box = polyhedra[5][i].copy()
        box[0], box[1] = max(box[0], first), min(box[1], last)
        box[2], box[3] = max(box[2], 0), min(box[3], sides[1] - 1)
        box[4], box[5] = max(box[4], 0), min(box[5], sides[2] - 1)
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
                        labels[z, y, x] = i + 1


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
