"""StarDist's post-processing of an image in memory."""

from __future__ import annotations

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.compute.threads import bands, in_threads
from cellmill.labels.numbering import canonical_labels, dense_labels
from cellmill.segmentation.interface import Maps, Numbering
from cellmill.segmentation.stardist.candidates import Candidates, find_candidates, ray_count
from cellmill.segmentation.stardist.drawing import draw
from cellmill.segmentation.stardist.parameters import StarDistParameters
from cellmill.segmentation.stardist.suppression import KEPT, suppress


def segment_maps(
    maps: Maps, parameters: StarDistParameters, numbering: Numbering = "canonical"
) -> np.ndarray:
    """Segment an image in memory.

    Args:
        maps: of the roles `probability` and `distances`.
        parameters: all thresholds.
        numbering: `canonical`, or `reference`: by falling probability.

    Returns:
        `(Y, X)` int32 labels, 1…n. An object that others cover wholly is not there.

    Raises:
        BadInput: a map holds NaN or infinity, or maps do not fit together.
    """
    height, width = maps.shape
    labels = np.zeros((height, width), np.int32)
    if not labels.size:
        return labels
    ray_count(maps)
    candidates = find_candidates(maps, parameters, [Box(0, height, 0, width)])
    objects = candidates[suppress(candidates, parameters.nms_threshold) == KEPT]
    draw_whole(objects, labels)
    return canonical_labels(labels) if numbering == "canonical" else dense_labels(labels)


def draw_whole(objects: Candidates, labels: np.ndarray) -> None:
    """Draw objects, in order of rank, into an image with their numbers from 1 on."""
    numbers = np.arange(1, len(objects) + 1)
    width = labels.shape[1]

    def work(band: tuple[int, int]) -> None:
        draw(objects, numbers, labels[slice(*band)], Box(*band, 0, width))

    in_threads(work, bands(len(labels), 512))
