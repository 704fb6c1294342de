"""Run Cellpose's own masks step on a folder of truths; its interpreter runs this file, not ours.

`python run_cellpose.py FOLDER`: each `N.truth.npz` there holds `labels`, `seed`, `noise` and
`parameters` (JSON). Beside it are written `N.maps.npz`, with `own` (flows of the labels by cellpose
itself), `flows` (those with noise) and `probability`; and `N.masks.npz`, with `masks` and, from a
second run in which seeds of equal strength are sorted in raster order, `in_order`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from cellpose.dynamics import masks_to_flows, resize_and_compute_masks
from scipy import ndimage

own_argsort = torch.Tensor.argsort


def stable_argsort(self, *arguments, **named):
    """Sort as cellpose asks for, equal values in the order that they have."""
    return own_argsort(self, *arguments, **{**named, "stable": True})


def noisy_maps(labels, own, seed, noise):
    """Flows and a logit as a network might give them: blurred, and wrong in places."""
    rng = np.random.default_rng(seed)
    rough, smooth = rng.normal(0, noise, (2, *own.shape))
    smooth = ndimage.gaussian_filter(smooth, (0, 3, 3)) * 8
    flows = ndimage.gaussian_filter(5 * own + rough + smooth, (0, 0.8, 0.8))
    logit = np.where(labels > 0, 3.0, -3.0) + rng.normal(0, 2, labels.shape)
    return flows.astype(np.float32), ndimage.gaussian_filter(logit, 0.7).astype(np.float32)


for path in sorted(Path(sys.argv[1]).glob("*.truth.npz")):
    with np.load(path) as case:
        labels, seed, noise = case["labels"], int(case["seed"]), float(case["noise"])
        parameters = json.loads(str(case["parameters"]))
    own = masks_to_flows(labels)
    flows, probability = noisy_maps(labels, own, seed, noise)
    masks = resize_and_compute_masks(flows.copy(), probability.copy(), **parameters)
    torch.Tensor.argsort = stable_argsort
    in_order = resize_and_compute_masks(flows.copy(), probability.copy(), **parameters)
    torch.Tensor.argsort = own_argsort
    name = path.name.removesuffix(".truth.npz")
    np.savez(path.with_name(f"{name}.maps.npz"), own=own, flows=flows, probability=probability)
    np.savez(path.with_name(f"{name}.masks.npz"), masks=masks, in_order=in_order)
