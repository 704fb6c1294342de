"""StarDist's post-processing as the registry knows it; its kernels are imported when used."""

from __future__ import annotations

import math

import numpy as np

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import Workspace
from cellmill.segmentation.interface import (
    Maps,
    Method,
    Numbering,
    Role,
    TiledForm,
    TiledSegmentation,
)
from cellmill.segmentation.stardist.parameters import StarDistParameters

#: What an image that is segmented in memory takes: candidates with their polygons, and labels.
_BYTES_PER_PIXEL = 100
#: What candidates take for each pixel of a tile and its halo.
_TILE_BYTES_PER_PIXEL = 60
#: Pixels around a tile in which candidates are looked for, as a rule.
_MOST_HALO = 192
#: Voxels around a block of a volume at most, or half a block.
_MOST_VOLUME_HALO = 48
#: What is held of a block: bytes of a voxel; of a candidate for each of its rays, with its corners;
#: and the part of the map's values that are candidates, as a rule.
_VOXEL_BYTES, _RAY_BYTES, _CANDIDATES = 12, 14, 0.15
#: Rays, and voxels a value of the map, where the maps are not known.
_RAYS, _VOXELS_A_VALUE = 96, 4
#: What is read of the maps at once, all channels.
_READ_BYTES = 36 << 20


def _segment(maps: Maps, parameters: StarDistParameters, numbering: Numbering) -> np.ndarray:
    if len(maps.shape) == 3:
        from cellmill.segmentation.stardist.volumes import segment_volume

        return segment_volume(maps, parameters, numbering)
    from cellmill.segmentation.stardist.in_memory import segment_maps

    return segment_maps(maps, parameters, numbering)


def _open(
    maps: Maps, parameters: StarDistParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    if len(grid.shape) == 3:
        from cellmill.segmentation.stardist.tiled_volumes import TiledVolumeStarDist

        return TiledVolumeStarDist(maps, parameters, grid, workspace)
    from cellmill.segmentation.stardist.tiled import TiledStarDist

    return TiledStarDist(maps, parameters, grid, workspace)


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL + _READ_BYTES


def _block_bytes(grid: Grid, maps: Maps | None) -> int:
    rays, voxels = _RAYS, _VOXELS_A_VALUE
    if maps is not None:
        rays, voxels = maps["distances"].shape[-1], math.prod(maps.strides_of("distances"))
    each = _VOXEL_BYTES + math.ceil(_CANDIDATES * rays * _RAY_BYTES / voxels)
    extents = (side + 2 * min(side // 2, _MOST_VOLUME_HALO) for side in grid.sides)
    whole = math.prod(min(pair) for pair in zip(extents, grid.shape, strict=True))
    return whole * each + _READ_BYTES


METHOD = Method(
    name="stardist",
    summary="Keeps, of star-convex polygons or polyhedra that overlap, the most probable ones.",
    parameters=StarDistParameters,
    roles=(
        Role("probability", "high near the objects' centres", strided=True),
        Role(
            "distances",
            "in each channel the distance to the object's edge along one ray, in pixels",
            channels=0,
            strided=True,
        ),
    ),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes, volume_bytes_for=_block_bytes),
    volumes=True,
)
