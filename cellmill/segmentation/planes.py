"""A volume segmented plane by plane, for networks that see planes; objects go on through planes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cellmill.arrays.windows import Section, Windowed
from cellmill.labels.stitching import STITCH_THRESHOLD, stitch_planes
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
    depth = next(iter(heads.values())).shape[0]
    return stitch_planes(
        (
            segment_one(
                {name: Section(head, z) for name, head in heads.items()},
                recipe,
                mpp=mpp[1:] if mpp else None,
                shape=shape[1:] if shape else None,
            )
            for z in range(depth)
        ),
        threshold,
    )
