"""Cellpose's masks step as the registry knows it; its kernels are imported when they are used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import Workspace
from cellmill.errors import BadInput
from cellmill.segmentation.cellpose.parameters import CellposeParameters
from cellmill.segmentation.interface import (
    Maps,
    Method,
    Numbering,
    Role,
    TiledForm,
    TiledSegmentation,
)

#: What an image that is segmented in memory takes, beside its maps.
_BYTES_PER_PIXEL = 25
#: What a tile with the pixels around it takes, its maps counted.
_TILE_BYTES_PER_PIXEL = 60
#: How far walks go, as a rule.
_MOST_HALO = 192
#: What a voxel of a block and of the window around it takes, its maps counted, and how wide that
#: is. Walks that leave it go on in windows of other blocks.
_BLOCK_BYTES_PER_VOXEL, _VOLUME_HALO = 60, 16


def _segment(maps: Maps, parameters: CellposeParameters, numbering: Numbering) -> np.ndarray:
    from cellmill.segmentation.cellpose.in_memory import segment_flows

    # The reference numbers objects in raster order as well.
    return segment_flows(maps.read("flows"), maps.read("probability"), parameters)


def _open(
    maps: Maps, parameters: CellposeParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.cellpose.tiled import TiledCellpose

    components = maps["flows"].shape[-1]
    if components != len(grid.shape):
        raise BadInput(
            f"{maps.names['flows']}, block by block",
            expected="flows along Z, Y and X, or memory_mib in which to join planes whole",
            found=f"{components} components",
        )
    return TiledCellpose(maps, parameters, grid, workspace)


def _orientations(across: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    from cellmill.segmentation.cellpose.orientations import combine_orientations

    stacks = [np.concatenate([each["flows"], each["probability"]], axis=-1) for each in across]
    flows, probability = combine_orientations(*stacks)
    return {"flows": flows, "probability": probability[..., np.newaxis]}


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


def _block_bytes(grid: Grid, maps: Maps | None) -> int:
    extents = (side + 2 * _VOLUME_HALO for side in grid.sides)
    whole = math.prod(min(pair) for pair in zip(extents, grid.shape, strict=True))
    return whole * _BLOCK_BYTES_PER_VOXEL


METHOD = Method(
    name="cellpose",
    summary="Follows a map of flows from each pixel of a cell to the middle of its object.",
    parameters=CellposeParameters,
    roles=(
        Role(
            "flows",
            "five times the unit step down, then right, to the object's middle; in volumes along "
            "Z first",
            channels=2,
            volume_channels=3,
        ),
        Role("probability", "a logit, high within objects"),
    ),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes, volume_bytes_for=_block_bytes),
    volumes=True,
    orientations=_orientations,
)
