"""StarDist's own suppression and labels, timed; its interpreter runs this file, not ours.

`python stardist_side.py FOLDER`: `labels.npy` there is a label image. Its rays and probabilities,
with noise, are made into maps (`maps.npz`); what was kept and the seconds are in `found.npz`.
"""

import sys
import time
from pathlib import Path

import numpy as np
from stardist.geometry import star_dist
from stardist.geometry.geom2d import polygons_to_label
from stardist.nms import non_maximum_suppression_inds
from stardist.utils import edt_prob

GRID, RAYS, PROB, NMS, REPEATS = 2, 32, 0.5, 0.4, 3

folder = Path(sys.argv[1])
labels = np.load(folder / "labels.npy")
rng = np.random.default_rng(0)
distances = star_dist(labels, RAYS, grid=(GRID, GRID))
distances = distances * rng.uniform(0.9, 1.1, (*distances.shape[:2], 1))
distances = np.maximum(distances + rng.normal(0, 0.3, distances.shape), 1e-3).astype(np.float32)
probability = edt_prob(labels)[::GRID, ::GRID]
probability = (probability * rng.uniform(0.9, 1, probability.shape)).astype(np.float32)
np.savez(folder / "maps.npz", probability=probability, distances=distances)
inner = np.zeros(probability.shape, bool)
inner[2:-2, 2:-2] = True
y, x = np.nonzero((probability > PROB) & inner)
order = np.lexsort((x, y, -probability[y, x]))
points, score, rays = np.stack([y, x], 1)[order] * GRID, probability[y, x][order], distances[y, x]
rays, seconds = rays[order], []
for _ in range(REPEATS):
    wall, cpu = time.perf_counter(), time.process_time()
    kept = non_maximum_suppression_inds(rays, points.astype(np.int32), score, thresh=NMS, verbose=0)
    middle = time.perf_counter(), time.process_time()
    polygons_to_label(rays[kept], points[kept], shape=labels.shape, prob=score[kept])
    end = time.perf_counter(), time.process_time()
    seconds.append([middle[0] - wall, middle[1] - cpu, end[0] - middle[0], end[1] - middle[1]])
np.savez(folder / "found.npz", kept=kept, seconds=np.min(seconds, axis=0))
