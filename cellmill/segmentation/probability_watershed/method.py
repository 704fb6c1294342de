"""The probability watershed as the registry knows it; kernels are imported when they are used.

It is a deep watershed of which only one map is given: objects lie where the probability exceeds a
threshold, and are flooded by falling probability from the maxima of their distance from the edge,
or of the probability itself.
"""

from __future__ import annotations

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
#: What a pixel of a tile and its halo takes, all arrays together.
_TILE_BYTES_PER_PIXEL = 130
#: Of flood, maxima, smoothing and distances together, as a rule.
_MOST_HALO = 210


def _segment(
    maps: Maps, parameters: ProbabilityWatershedParameters, numbering: Numbering
) -> np.ndarray:
    from cellmill.segmentation.deep_watershed.in_memory import segment_maps
    from cellmill.segmentation.probability_watershed.distances import capped_distances

    probability = maps.read("probability")
    seeds = probability
    if parameters.seeds == "distance" and probability.size:
        volume = maps.mpp is not None and probability.ndim == 3
        spacing = [each / maps.mpp[-1] for each in maps.mpp] if volume and maps.mpp else None
        seeds = capped_distances(probability, parameters, spacing)
    return segment_maps(seeds, probability, parameters.watershed, numbering)


def _open(
    maps: Maps, parameters: ProbabilityWatershedParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.deep_watershed.tiled import TiledWatershed
    from cellmill.segmentation.probability_watershed.distances import SeedMap

    probability = maps["probability"]
    seeds = SeedMap(probability, parameters, maps.names["probability"])
    return TiledWatershed(seeds, probability, parameters.watershed, grid, workspace)


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


METHOD = Method(
    name="probability_watershed",
    summary="Cuts where a class is likely into objects, by their distance from the edge.",
    parameters=ProbabilityWatershedParameters,
    roles=(Role("probability", "how likely a pixel is of the objects' class, 0 to 1"),),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(open=_open, bytes_for=_tile_bytes),
    volumes=True,
)
