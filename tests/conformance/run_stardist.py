"""Run StarDist's own code on what a test wrote; its interpreter runs this file, not ours.

`python run_stardist.py maps FOLDER`: each `N.npz` there holds `labels`, `rays`, `grid`, `seed` and
thresholds; StarDist's own rays and probabilities of these labels, with noise, are made into maps,
candidates of which its suppression keeps some in the order of falling probability and raster, and
its labels of those. `overlap FOLDER` finds by halving at which threshold the second of two polygons
is dropped. `network FOLDER` writes an untrained network as StarDist does, and what it gives of an
image; `volumes FOLDER` one of three dimensions.
"""

import sys
from pathlib import Path

import numpy as np


def maps(folder: Path) -> None:
    from stardist.geometry import star_dist
    from stardist.geometry.geom2d import polygons_to_label
    from stardist.nms import non_maximum_suppression_inds
    from stardist.utils import edt_prob

    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as case:
            labels, rays, grid = case["labels"], int(case["rays"]), int(case["grid"])
            rng = np.random.default_rng(int(case["seed"]))
            prob_threshold, nms_threshold = float(case["prob"]), float(case["nms"])
        step = (slice(None, None, grid),) * 2
        distances = star_dist(labels, rays, grid=(grid, grid))
        distances = distances * rng.uniform(0.8, 1.25, (*distances.shape[:2], 1))
        distances = np.maximum(distances + rng.normal(0, 0.5, distances.shape), 1e-3)
        probability = edt_prob(labels)[step] * rng.uniform(0.7, 1, labels[step].shape)
        # So that some are equal.
        probability = np.round(probability * 500).astype(np.float32) / np.float32(500)
        distances = distances.astype(np.float32)
        inner = np.zeros(probability.shape, bool)
        inner[2:-2, 2:-2] = True
        y, x = np.nonzero((probability > prob_threshold) & inner)
        score = probability[y, x]
        order = np.lexsort((x, y, -score))
        points, score = np.stack([y, x], axis=1)[order] * grid, score[order]
        kept_rays = distances[y, x][order]
        kept = non_maximum_suppression_inds(
            kept_rays, points.astype(np.int32), score, thresh=nms_threshold, verbose=0
        )
        drawn = polygons_to_label(
            kept_rays[kept], points[kept], shape=labels.shape, prob=score[kept]
        )
        np.savez(
            path.with_suffix(".found.npz"),
            probability=probability,
            distances=distances,
            labels=drawn,
            points=points,
            kept=kept,
        )


def overlap(folder: Path) -> None:
    from stardist.nms import non_maximum_suppression_inds

    with np.load(folder / "pairs.npz") as pairs:
        rays, points = pairs["rays"], pairs["points"].astype(np.int32)
    found = []
    for pair, places in zip(rays, points, strict=True):
        low, high = 0.0, 1.01
        for _ in range(20):
            middle = (low + high) / 2
            kept = non_maximum_suppression_inds(
                pair, places, np.array([1, 0.5], np.float32), thresh=middle, verbose=0
            )
            low, high = (low, middle) if kept[1] else (middle, high)
        found.append(high)
    np.save(folder / "overlaps.npy", found)


def network(folder: Path) -> None:
    from stardist.models import Config2D, StarDist2D

    config = Config2D(
        n_rays=16, grid=(2, 2), unet_n_filter_base=8, unet_n_depth=2, net_conv_after_unet=16
    )
    model = StarDist2D(config, name=folder.name, basedir=str(folder.parent))
    model.keras_model.save_weights(str(folder / "weights_best.h5"))
    image = np.random.default_rng(1).random((96, 128)).astype(np.float32)
    probability, distances = model.predict(image)
    np.savez(folder / "predicted.npz", image=image, probability=probability, distances=distances)


def volumes(folder: Path) -> None:
    from stardist import Rays_GoldenSpiral
    from stardist.models import Config3D, StarDist3D

    config = Config3D(
        rays=Rays_GoldenSpiral(16, anisotropy=(2, 1, 1)),
        grid=(1, 2, 2),
        anisotropy=(2, 1, 1),
        unet_n_filter_base=4,
        unet_n_depth=1,
        net_conv_after_unet=8,
    )
    model = StarDist3D(config, name=folder.name, basedir=str(folder.parent))
    model.keras_model.save_weights(str(folder / "weights_best.h5"))
    image = np.random.default_rng(1).random((24, 149, 190)).astype(np.float32)
    probability, distances = model.predict(image)
    np.savez(folder / "predicted.npz", image=image, probability=probability, distances=distances)


if __name__ == "__main__":
    known = {"maps": maps, "overlap": overlap, "network": network, "volumes": volumes}
    known[sys.argv[1]](Path(sys.argv[2]))
