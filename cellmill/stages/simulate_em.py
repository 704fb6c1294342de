"""The stage that makes two synthetic volumes of electron microscopy, with their membranes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellmill.contract import EMVolumes, Output, Record, stage
from cellmill.datasets.synthetic_em import LOOK_X, LOOK_Y, make_tissue, show
from cellmill.errors import BadInput
from cellmill.style_transfer.volumes import Volume
from cellmill.style_transfer.writing import create_volume

#: Voxels along an axis below which nothing can be learnt from a volume.
_LEAST = (4, 96, 96)


class Places(NamedTuple):
    """Where the volumes lie: what the stages that open volumes are given."""

    x: str
    y: str
    x_truth: str
    y_truth: str


@stage(image="imaging", family="style transfer")
def simulate_em(
    volumes: Output[EMVolumes],
    record: Output[Record],
    shape: str = "20,224,224",
    cell: float = 28.0,
    membrane: float = 2.5,
    voxel_nm: float = 8.0,
    seed: int = 0,
) -> Places:
    """Make two synthetic volumes of electron microscopy, for trying style transfer.

    They show different tissue (cells of points drawn at random) in two looks: X noisy, darker and
    of low contrast, Y sharp. No microscope took them: figures say nothing about real volumes.

    Args:
        volumes: Folder with x.zarr and y.zarr, (Z, Y, X) uint8, and x-membranes.zarr and
            y-membranes.zarr, 255 where membranes are.
        record: What was done, with times and versions.
        shape: Voxels along z, y and x of each, with commas between.
        cell: Side of a cube as large as a cell is on average, voxels.
        membrane: Width of a membrane, voxels.
        voxel_nm: Side of a voxel, nm.
        seed: Of tissue and noise; the same gives the same volumes.

    Returns:
        x: Where X lies.
        y: Where Y lies.
        x_truth: Where the membranes of X lie.
        y_truth: Where the membranes of Y lie.
    """
    sides = _sides(shape)
    root = str(volumes.uri or volumes.path).rstrip("/")
    places = Places(*(f"{root}/{name}.zarr" for name in ("x", "y", "x-membranes", "y-membranes")))
    sizes = (voxel_nm, voxel_nm, voxel_nm)
    looks = ((LOOK_X, places.x, places.x_truth), (LOOK_Y, places.y, places.y_truth))
    for number, (look, grey, truth) in enumerate(looks):
        own = 2 * seed + number + 1
        with record.step("make tissue"):
            tissue = make_tissue(sides, cell=cell, membrane=membrane, seed=own)
            shown = show(tissue, look, seed=own)
        with record.step("write"):
            for place, values in ((grey, shown), (truth, tissue.membranes * np.uint8(255))):
                like = Volume(place, values, voxel_nm=sizes)
                create_volume(place, like, 64)[...] = values
    volumes.metadata.update(seed=seed, shape=shape)
    return places


def _sides(shape: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(part) for part in shape.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 3 or any(n < least for n, least in zip(sides, _LEAST, strict=True)):
        least = ",".join(map(str, _LEAST))
        raise BadInput("shape", expected=f"z,y,x of at least {least} voxels", found=f"'{shape}'")
    return sides
