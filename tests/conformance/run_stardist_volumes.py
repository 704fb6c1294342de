"""Run StarDist's own 3-D code on what a test wrote; its interpreter runs this file, not ours.

`python run_stardist_volumes.py FOLDER`: each `N.npz` there holds a volume's `labels`, `rays`,
`anisotropy`, `grid`, `seed`, `noise` and thresholds. StarDist's own rays and probabilities of these
labels, with noise, are made into maps; candidates, in the order of falling probability and raster,
are handed to its suppression, and what is kept to its drawing.
"""

import sys
from pathlib import Path

import numpy as np
from stardist import Rays_GoldenSpiral
from stardist.geometry import polyhedron_to_label, star_dist3D
from stardist.lib.stardist3d import c_non_max_suppression_inds
from stardist.utils import edt_prob

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    with np.load(path) as case:
        labels, grid, noise = case["labels"], int(case["grid"]), float(case["noise"])
        rays = Rays_GoldenSpiral(int(case["rays"]), tuple(case["anisotropy"].tolist()))
        rng = np.random.default_rng(int(case["seed"]))
        prob_threshold, nms_threshold = float(case["prob"]), float(case["nms"])
    step = (slice(None, None, grid),) * 3
    distances = star_dist3D(labels, rays, grid=(grid,) * 3)
    distances = distances * rng.uniform(1 - noise, 1 + noise, (*distances.shape[:3], 1))
    distances = distances * rng.uniform(1 - noise, 1 + noise, distances.shape)
    distances = np.maximum(distances, 1e-3).astype(np.float32)
    probability = edt_prob(labels)[step] * rng.uniform(0.7, 1, labels[step].shape)
    # So that some are equal.
    probability = np.round(probability * 500).astype(np.float32) / np.float32(500)
    inner = np.zeros(probability.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    points = np.argwhere((probability > prob_threshold) & inner)
    score, lengths = probability[tuple(points.T)], distances[tuple(points.T)]
    order = np.argsort(-score, kind="stable")
    points, score, lengths = points[order] * grid, score[order], lengths[order]
    kept = c_non_max_suppression_inds(
        np.ascontiguousarray(lengths),
        points.astype(np.float32),
        np.ascontiguousarray(rays.vertices.astype(np.float32)),
        np.ascontiguousarray(rays.faces.astype(np.int32)),
        score,
        1,
        1,
        0,
        np.float32(nms_threshold),
    ).astype(bool)
    # Of equal ones the last lies on top, as it does where its sort is stable.
    rank = np.empty(kept.sum())
    rank[np.argsort(score[kept], kind="stable")] = np.arange(kept.sum())
    drawn = polyhedron_to_label(
        lengths[kept], points[kept], rays, labels.shape, prob=rank, verbose=False
    )
    np.savez(
        path.with_suffix(".found.npz"),
        probability=probability,
        distances=distances,
        labels=drawn,
        points=points,
        kept=kept,
        vertices=rays.vertices,
        faces=rays.faces,
    )
