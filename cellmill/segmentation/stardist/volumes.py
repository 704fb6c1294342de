"""StarDist's post-processing of a volume in memory."""

from __future__ import annotations

import numpy as np

from cellmill.labels.numbering import canonical_labels, dense_labels
from cellmill.segmentation.interface import Maps, Numbering
from cellmill.segmentation.stardist.candidates import ray_count
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.polyhedra import polyhedra_of
from cellmill.segmentation.stardist.rays import golden_spiral
from cellmill.segmentation.stardist.suppression import KEPT
from cellmill.segmentation.stardist.volume_candidates import check_sizes, find_volume_candidates
from cellmill.segmentation.stardist.volume_drawing import draw_volume
from cellmill.segmentation.stardist.volume_suppression import suppress_volumes


def segment_volume(
    maps: Maps, parameters: StarDistParameters, numbering: Numbering = "canonical"
) -> np.ndarray:
    """Segment a volume in memory.

    Args:
        maps: of the roles `probability` `(Z, Y, X)` and `distances` `(Z, Y, X, R)`, along the rays
            of a golden spiral of the parameters' anisotropy.
        parameters: all thresholds.
        numbering: `canonical`, or `reference`: by falling probability.

    Returns:
        `(Z, Y, X)` int32 labels, 1…n. An object that others cover wholly is not there.

    Raises:
        BadInput: a map holds NaN or infinity, maps do not fit together, or distances are absurd.
    """
    labels = np.zeros(maps.shape, np.int32)
    if not labels.size:
        return labels
    rays = golden_spiral(ray_count(maps), parameters.anisotropy)
    every = find_volume_candidates(maps, parameters)
    polyhedra = polyhedra_of(every.points, every.rays, rays)
    check_sizes(polyhedra.boxes, polyhedra.lengths, maps)
    objects = every[suppress_volumes(polyhedra, parameters.nms_threshold) == KEPT]
    draw_volume(polyhedra_of(objects.points, objects.rays, rays), objects.score, labels)
    return canonical_labels(labels) if numbering == "canonical" else dense_labels(labels)
