"""The probability watershed as the registry knows it; kernels are imported when they are used.

It is a deep watershed of which only one map is given: objects lie where the probability exceeds a
threshold, and are flooded by falling probability from the maxima of their distance from the edge,
or of the probability itself.
"""

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
from cellmill.segmentation.probability_watershed.parameters import ProbabilityWatershedParameters

#: What an image that is segmented in memory takes: the deep watershed's, and its distances.
_BYTES_PER_PIXEL = 110
#: What a pixel of a tile and its halo takes, all arrays together; the same of a volume's block.
_TILE_BYTES_PER_PIXEL, _BLOCK_BYTES_PER_PIXEL = 130, 48
#: Of flood, maxima, smoothing and distances together, as a rule, of an image and of a volume.
_MOST_HALO, _MOST_VOLUME_HALO = 210, 66


def _segment(
    maps: Maps, parameters: ProbabilityWatershedParameters, numbering: Numbering
) -> np.ndarray:
    from cellmill.segmentation.deep_watershed.in_memory import segment_maps
    from cellmill.segmentation.probability_watershed.distances import edge_distances, spacing_of

    probability = maps.read("probability")
    seeds = probability
    if parameters.seeds == "distance" and probability.size:
        seeds = edge_distances(probability, parameters, spacing_of(maps.mpp, probability.ndim))
    return segment_maps(seeds, probability, parameters.watershed, numbering)


def _open(
    maps: Maps, parameters: ProbabilityWatershedParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.deep_watershed.tiled import TiledWatershed
    from cellmill.segmentation.probability_watershed.distances import SeedMap, spacing_of

    probability = maps["probability"]
    spacing = spacing_of(maps.mpp, len(maps.shape))
    seeds = SeedMap(probability, parameters, maps.names["probability"], spacing)
    return TiledWatershed(seeds, probability, parameters.watershed, grid, workspace)


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


def _block_bytes(grid: Grid, maps: Maps | None) -> int:
    extents = (side + 2 * _MOST_VOLUME_HALO for side in grid.sides)
    whole = math.prod(min(pair) for pair in zip(extents, grid.shape, strict=True))
    return whole * _BLOCK_BYTES_PER_PIXEL


METHOD = Method(
    name="probability_watershed",
    summary="Cuts where a class is likely into objects, by their distance from the edge.",
    parameters=ProbabilityWatershedParameters,
    roles=(Role("probability", "how likely a pixel is of the objects' class, 0 to 1"),),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes, volume_bytes_for=_block_bytes),
    volumes=True,
)
