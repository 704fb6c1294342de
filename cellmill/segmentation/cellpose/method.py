"""Cellpose's masks step as the registry knows it; its kernels are imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import Workspace
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


def _segment(maps: Maps, parameters: CellposeParameters, numbering: Numbering) -> np.ndarray:
    from cellmill.segmentation.cellpose.in_memory import segment_flows

    # The reference numbers objects in raster order as well.
    return segment_flows(maps.read("flows"), maps.read("probability"), parameters)


def _open(
    maps: Maps, parameters: CellposeParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.cellpose.tiled import TiledCellpose

    return TiledCellpose(maps, parameters, grid, workspace)


def _orientations(across: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    from cellmill.segmentation.cellpose.orientations import combine_orientations

    stacks = [np.concatenate([each["flows"], each["probability"]], axis=-1) for each in across]
    flows, probability = combine_orientations(*stacks)
    return {"flows": flows, "probability": probability[..., np.newaxis]}


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


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
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes),
    volumes=True,
    orientations=_orientations,
)
