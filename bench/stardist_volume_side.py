"""StarDist's own suppression and labels of a volume, timed; its interpreter runs this file.

`python stardist_volume_side.py FOLDER`: `labels.npy` there is a label volume. Its rays and
probabilities, with noise, are made into maps (`maps.npz`); what was kept and the seconds are in
`found.npz`.
"""

import sys
import time
from pathlib import Path

import numpy as np
from stardist import Rays_GoldenSpiral
from stardist.geometry import polyhedron_to_label, star_dist3D
from stardist.lib.stardist3d import c_non_max_suppression_inds
from stardist.utils import edt_prob

GRID, RAYS, PROB, NMS = 2, Rays_GoldenSpiral(96), 0.5, 0.3

folder = Path(sys.argv[1])
labels = np.load(folder / "labels.npy")
rng = np.random.default_rng(0)
distances = star_dist3D(labels, RAYS, grid=(GRID,) * 3)
distances = distances * rng.uniform(0.9, 1.1, (*distances.shape[:3], 1))
distances = np.maximum(distances + rng.normal(0, 0.3, distances.shape), 1e-3).astype(np.float32)
probability = edt_prob(labels)[::GRID, ::GRID, ::GRID]
probability = (probability * rng.uniform(0.9, 1, probability.shape)).astype(np.float32)
np.savez(folder / "maps.npz", probability=probability, distances=distances)
inner = np.zeros(probability.shape, bool)
inner[2:-2, 2:-2, 2:-2] = True
points = np.argwhere((probability > PROB) & inner)
score, lengths = probability[tuple(points.T)], distances[tuple(points.T)]
order = np.argsort(-score, kind="stable")
points, score, lengths = points[order] * GRID, score[order], np.ascontiguousarray(lengths[order])
wall, cpu = time.perf_counter(), time.process_time()
kept = c_non_max_suppression_inds(
    lengths,
    points.astype(np.float32),
    np.ascontiguousarray(RAYS.vertices, np.float32),
    np.ascontiguousarray(RAYS.faces, np.int32),
    score,
    1,
    1,
    0,
    np.float32(NMS),
).astype(bool)
middle = time.perf_counter(), time.process_time()
polyhedron_to_label(
    lengths[kept], points[kept], RAYS, labels.shape, prob=score[kept], verbose=False
)
end = time.perf_counter(), time.process_time()
seconds = [middle[0] - wall, middle[1] - cpu, end[0] - middle[0], end[1] - middle[1]]
np.savez(folder / "found.npz", kept=kept, seconds=seconds)
