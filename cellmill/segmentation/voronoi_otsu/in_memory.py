"""Voronoi-Otsu in memory, of images and volumes.

A seed is a maximum of the blurred image, a mask is what lies above Otsu's threshold of the image
under another blur, and seeds grow through the mask until they meet: the combination that
clesperanto calls `voronoi_otsu_labeling` (Haase et al., Nature Methods 17, 2020), written from a
description of what it computes. `rule="clesperanto"` gives its labels, numbers included.
"""

from __future__ import annotations

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.errors import BadInput
from cellmill.labels.finishing import finish_objects
from cellmill.morphology.growth import grow_labels
from cellmill.morphology.otsu import centred_histogram, otsu_threshold
from cellmill.segmentation.interface import NUMBERINGS, Numbering
from cellmill.segmentation.voronoi_otsu.parameters import VoronoiOtsuParameters
from cellmill.segmentation.voronoi_otsu.seeds import Blurs, spots_in


def segment_image(
    image: np.ndarray,
    parameters: VoronoiOtsuParameters,
    mpp: tuple[float, ...] | None = None,
    numbering: Numbering = "canonical",
) -> np.ndarray:
    """Segment one image, `(Y, X)`, or one volume, `(Z, Y, X)`.

    Args:
        image: objects brighter than what is around them, any real dtype.
        parameters: widths of the blurs and the rule.
        mpp: µm per pixel, an axis each; none where unknown: all axes count alike.
        numbering: `canonical`, or `reference`: 1…n in raster order of the seeds.

    Returns:
        int32 labels of the same shape, 1…n. A part of the mask without a seed is background.

    Raises:
        BadInput: the image is not real numbers, not 2-D or 3-D, or holds NaN or infinity; or
            lengths are in microns and the pixel size is unknown.
    """
    if numbering not in NUMBERINGS:
        raise BadInput("numbering", expected=" or ".join(NUMBERINGS), found=repr(numbering))
    if image.dtype.kind not in "fiub" or image.ndim not in (2, 3):
        raise BadInput(
            "image",
            expected="real numbers (Y, X) or (Z, Y, X)",
            found=f"{image.dtype} {image.shape}",
        )
    blurs = Blurs.of(parameters, mpp, image.ndim)
    if not image.size:
        return np.zeros(image.shape, np.int32)
    require_finite(image)
    image = np.asarray(image, np.float32)
    mask = _mask(blurs.outlined(image))
    spots = spots_in(image, mask, blurs)
    seeds = np.zeros(image.shape, np.int32)
    seeds.reshape(-1)[spots.places] = spots.ids
    labels = grow_labels(mask, seeds, blurs.metric)
    finish_objects(
        labels,
        int(spots.ids.max(initial=0)),
        small=parameters.small_objects_threshold,
        by_id=numbering == "reference",
    )
    return labels


def _mask(outlined: np.ndarray) -> np.ndarray:
    low, high = float(outlined.min()), float(outlined.max())
    if low == high:
        return np.zeros(outlined.shape, bool)
    threshold = otsu_threshold(centred_histogram(outlined, low, high), low, high)
    return outlined > np.float32(threshold)
