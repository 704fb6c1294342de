"""Run Cellpose's own 3-D steps on what a test wrote; its interpreter runs this file, not ours.

`python run_cellpose_volumes.py FOLDER`: each `N.truth.npz` there holds a volume's `labels`, `seed`,
`noise` and `parameters` (JSON). Beside it is written `N.found.npz`, with `flows` (of the labels by
cellpose itself, with noise), `probability` and `masks`, seeds of equal strength sorted in raster
order; `stacked`, masks of the same maps taken plane by plane and stitched; `orientations` and
`combined`, what `run_3D` makes of three stacks of a network's outputs. Each `N.stack.npz` holds
`labels` and `threshold`: `N.stitched.npy` is what `stitch3D` makes of them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from cellpose import core
from cellpose.dynamics import masks_to_flows, resize_and_compute_masks
from cellpose.utils import fill_holes_and_remove_small_masks, stitch3D
from scipy import ndimage

own_argsort = torch.Tensor.argsort
torch.Tensor.argsort = lambda self, *arguments, **named: own_argsort(
    self, *arguments, **{**named, "stable": True}
)


def noisy_maps(labels, own, seed, noise):
    """Flows and a logit as a network might give them: blurred, and wrong in places."""
    rng = np.random.default_rng(seed)
    flows = ndimage.gaussian_filter(5 * own + rng.normal(0, noise, own.shape), (0, 0.8, 0.8, 0.8))
    logit = np.where(labels > 0, 3.0, -3.0) + rng.normal(0, 2, labels.shape)
    return flows.astype(np.float32), ndimage.gaussian_filter(logit, 0.7).astype(np.float32)


def stacked_masks(flows, probability, parameters):
    """What cellpose makes of planes, joined by a threshold of 0.25."""
    alone = {**parameters, "min_size": -1}
    masks = np.stack(
        [
            resize_and_compute_masks(flows[1:, z].copy(), probability[z].copy(), **alone)
            for z in range(len(probability))
        ]
    )
    masks = stitch3D(masks, stitch_threshold=0.25)
    return fill_holes_and_remove_small_masks(masks, min_size=parameters["min_size"])


def combined(seed, shape):
    """Stacks of outputs of a network that gives them in turn, and what `run_3D` makes of them."""
    deep, high, wide = shape
    rng = np.random.default_rng(seed)
    turned = [(deep, high, wide), (high, deep, wide), (wide, deep, high)]
    stacks = [rng.normal(0, 2, (*each, 3)).astype(np.float32) for each in turned]
    given = iter(stacks)
    core.run_net = lambda *_, **__: (next(given), None)
    return stacks, core.run_3D(None, np.zeros((*shape, 2), np.float32))[0]


folder = Path(sys.argv[1])
for path in sorted(folder.glob("*.truth.npz")):
    with np.load(path) as case:
        labels, seed, noise = case["labels"], int(case["seed"]), float(case["noise"])
        parameters = json.loads(str(case["parameters"]))
    flows, probability = noisy_maps(labels, masks_to_flows(labels), seed, noise)
    masks = resize_and_compute_masks(flows.copy(), probability.copy(), do_3D=True, **parameters)
    stacks, sums = combined(seed, labels.shape)
    np.savez(
        path.with_name(path.name.replace("truth", "found")),
        flows=flows,
        probability=probability,
        masks=masks,
        stacked=stacked_masks(flows, probability, parameters),
        combined=sums,
        **{f"across_{axis}": stack for axis, stack in zip("zyx", stacks, strict=True)},
    )
for path in sorted(folder.glob("*.stack.npz")):
    with np.load(path) as case:
        stitched = stitch3D(case["labels"].copy(), stitch_threshold=float(case["threshold"]))
    np.save(path.with_name(path.name.replace("stack.npz", "stitched.npy")), stitched)
