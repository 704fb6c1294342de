"""A volume segmented plane by plane, for networks that see planes; objects go on through planes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cellmill.arrays.windows import Section, Windowed
from cellmill.labels.stitching import STITCH_THRESHOLD, stitched_planes
from cellmill.segmentation.methods import Recipe, segment_one

#: The attribute of an entry whose planes a network was given one by one.
PLANE_BY_PLANE = "plane_by_plane"


def segment_planes(
    heads: Mapping[str, Windowed],
    recipe: Recipe,
    mpp: tuple[float, ...] | None = None,
    shape: tuple[int, ...] | None = None,
    threshold: float = STITCH_THRESHOLD,
) -> np.ndarray:
    """Segment each plane of a volume, and stitch the planes.

    Args:
        heads: the network's outputs by name, each `(Z, Y', X', C)`.
        recipe: how objects are found in a plane.
        mpp: µm per pixel of the heads (z, y, x); `None` where unknown.
        shape: `(Z, Y, X)` of the volume at the network's scale; `None` where heads have it.
        threshold: intersection over union from which objects of neighbouring planes are one.

    Returns:
        int32 labels `(Z, Y, X)`, 1…n in raster order of first voxels.
    """
    return np.stack([*segmented_planes(heads, recipe, mpp, shape, threshold)])


def segmented_planes(
    heads: Mapping[str, Windowed],
    recipe: Recipe,
    mpp: tuple[float, ...] | None = None,
    shape: tuple[int, ...] | None = None,
    threshold: float = STITCH_THRESHOLD,
) -> Iterator[np.ndarray]:
    """Segment and stitch plane by plane; two planes are held. See `segment_planes`.

    Yields:
        int32 labels `(Y, X)`, a plane each.
    """
    size = shape[1:] if shape else None
    planes = (
        segment_one(plane, recipe, mpp=mpp[1:] if mpp else None, shape=size)
        for plane in planes_of(heads)
    )
    return stitched_planes(planes, threshold)


def planes_of(heads: Mapping[str, Windowed]) -> Iterator[Mapping[str, Windowed]]:
    """The heads `(Y', X', C)` of each plane of a volume, by name."""
    for z in range(next(iter(heads.values())).shape[0]):
        yield {name: Section(head, z) for name, head in heads.items()}
