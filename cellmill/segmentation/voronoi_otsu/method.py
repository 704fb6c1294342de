"""Voronoi-Otsu as the registry knows it; its kernels are imported when they are used."""

from __future__ import annotations

import math

import numpy as np

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import Workspace
from cellmill.segmentation.interface import (
    IMAGE,
    Maps,
    Method,
    Numbering,
    Role,
    TiledForm,
    TiledSegmentation,
)
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters

#: What an image that is segmented in memory takes.
_BYTES_PER_PIXEL = 32
#: What a pixel of a tile and its surroundings takes, all arrays together.
_TILE_BYTES_PER_PIXEL = 70
#: Of the surroundings of an image's and of a volume's, as a rule.
_MOST_HALO, _MOST_VOLUME_HALO = 64, 26


def _segment(maps: Maps, parameters: VoronoiOtsuParameters, numbering: Numbering) -> np.ndarray:
    from cellmill.segmentation.voronoi_otsu.in_memory import segment_image

    return segment_image(maps.read("intensity"), parameters, maps.mpp, numbering)


def _open(
    maps: Maps, parameters: VoronoiOtsuParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.voronoi_otsu.tiled import TiledVoronoiOtsu

    return TiledVoronoiOtsu(maps, parameters, grid, workspace)


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


def _block_bytes(grid: Grid, maps: Maps | None) -> int:
    extents = (side + 2 * _MOST_VOLUME_HALO for side in grid.sides)
    whole = math.prod(min(pair) for pair in zip(extents, grid.shape, strict=True))
    return whole * _TILE_BYTES_PER_PIXEL


METHOD = Method(
    name="voronoi_otsu",
    summary="Grows bright spots of the image through what lies above Otsu's threshold.",
    parameters=VoronoiOtsuParameters,
    roles=(Role("intensity", "objects brighter than what is around them", head=IMAGE),),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes, volume_bytes_for=_block_bytes),
    volumes=True,
)
