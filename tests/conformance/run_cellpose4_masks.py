"""Run Cellpose 4's own masks step on a folder of maps; its interpreter runs this file, not ours.

`python run_cellpose4_masks.py FOLDER`: each `N.maps.npz` there holds `flows` `(2, Y, X)`,
`probability` and `parameters` (JSON). Beside it is written `N.masks.npz`, with `masks` and, from a
second run in which seeds of equal strength are sorted in raster order, `in_order`. Where the file
holds `whole` as well, masks are those of `CellposeModel.eval` with all it does by default but
normalise: the image's three channels are the maps, and the network hands them on.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from cellmill.models.importing.cellpose4 import import_cellpose

import_cellpose()
from cellpose.dynamics import resize_and_compute_masks  # noqa: E402
from cellpose.models import CellposeModel  # noqa: E402

own_argsort = torch.Tensor.argsort


def stable_argsort(self, *arguments, **named):
    """Sort as cellpose asks for, equal values in the order that they have."""
    return own_argsort(self, *arguments, **{**named, "stable": True})


class Handed(torch.nn.Module):
    """A network whose maps are its image."""

    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, given):
        return given, torch.zeros(len(given), 256)


def evaluated(flows, probability, parameters):
    """Give the maps that `eval` found masks in, and the masks."""
    model = CellposeModel.__new__(CellposeModel)
    model.net, model.device, model.gpu, model.backbone = Handed(), Handed.device, False, "sam_vitl"
    image = np.stack([*flows, probability], axis=-1)
    masks, (_, own, logit), _ = model.eval(image, normalize=False, **parameters)
    return own, logit, masks


for path in sorted(Path(sys.argv[1]).glob("*.maps.npz")):
    with np.load(path) as case:
        flows, probability, whole = case["flows"], case["probability"], "whole" in case
        parameters = json.loads(str(case["parameters"]))
    found = {}
    for name, sort in (("masks", own_argsort), ("in_order", stable_argsort)):
        torch.Tensor.argsort = sort
        if whole:
            found["flows"], found["probability"], found[name] = evaluated(
                flows, probability, parameters
            )
        else:
            maps = flows.copy(), probability.copy()
            found[name] = resize_and_compute_masks(*maps, **parameters)
    torch.Tensor.argsort = own_argsort
    np.savez(path.with_name(path.name.replace(".maps.", ".masks.")), **found)
