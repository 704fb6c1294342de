"""The deep watershed as the registry knows it; its kernels are imported when they are used."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cellmill.arrays.windows import Grid
from cellmill.arrays.workspace import Workspace
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.interface import (
    Found,
    Maps,
    Method,
    Numbering,
    Role,
    Sweep,
    TiledForm,
    TiledSegmentation,
)

#: What an image that is segmented in memory takes.
_BYTES_PER_PIXEL = 80
#: What flooding takes for each pixel of a tile and its halo, all arrays together; the same of a
#: block of a volume.
_TILE_BYTES_PER_PIXEL, _BLOCK_BYTES_PER_PIXEL = 110, 40
#: Of flood, maxima and smoothing together, as a rule, of an image and of a volume.
_MOST_HALO, _MOST_VOLUME_HALO = 160, 48
#: Bytes of a pixel of a map that many parameters share.
_MAP_BYTES = 4


def _segment(maps: Maps, parameters: WatershedParameters, numbering: Numbering) -> np.ndarray:
    from cellmill.segmentation.deep_watershed.in_memory import segment_maps

    return segment_maps(maps.read("maxima"), maps.read("interior"), parameters, numbering)


def _open(
    maps: Maps, parameters: WatershedParameters, grid: Grid, workspace: Workspace
) -> TiledSegmentation:
    from cellmill.segmentation.deep_watershed.tiled import TiledWatershed

    return TiledWatershed(maps["maxima"], maps["interior"], parameters, grid, workspace)


def _tile_bytes(side: int) -> int:
    return (side + 2 * _MOST_HALO) ** 2 * _TILE_BYTES_PER_PIXEL


def _block_bytes(grid: Grid, maps: Maps | None) -> int:
    extents = (side + 2 * _MOST_VOLUME_HALO for side in grid.sides)
    whole = math.prod(min(pair) for pair in zip(extents, grid.shape, strict=True))
    return whole * _BLOCK_BYTES_PER_PIXEL


def _refuses(parameters: WatershedParameters) -> tuple[str, str] | None:
    if parameters.tie_rule == "reference":
        return "tie_rule 'local', the same however an image is cut up", "tie_rule 'reference'"
    return None


def _sweep(
    maps: Maps, points: Sequence[WatershedParameters], found: Found, threads: int | None
) -> None:
    from cellmill.segmentation.deep_watershed.sweep import sweep

    maxima = np.asarray(maps.read("maxima"), np.float32)
    sweep(maxima, np.asarray(maps.read("interior"), np.float32), points, found, threads)


def _shared_bytes(points: Sequence[WatershedParameters]) -> int:
    """Two maps as they came, a third for what is being made, and each that is smoothed."""
    blurred = len({p.maxima_smooth for p in points})
    shaped = len({(p.interior_smooth, p.pixel_expansion) for p in points})
    return _MAP_BYTES * (blurred + shaped + 3)


METHOD = Method(
    name="deep_watershed",
    summary="Floods a map of the objects' interior from the maxima of another.",
    parameters=WatershedParameters,
    roles=(
        Role("maxima", "peaks at the objects' centres"),
        Role("interior", "high within objects, low outside"),
    ),
    segment=_segment,
    bytes_per_pixel=_BYTES_PER_PIXEL,
    tiled=TiledForm(
        open=_open, bytes_for=_tile_bytes, volume_bytes_for=_block_bytes, refuses=_refuses
    ),
    sweep=Sweep(run=_sweep, shared_bytes=_shared_bytes),
    volumes=True,
)
