"""Deep watershed: from a network's maxima and interior maps to labelled objects.

The steps and their order are DeepCell's (Greenwald et al., Nature Biotechnology 40, 2022; Bannon et
al., Nature Methods 18, 2021), after Bai and Urtasun's deep watershed transform (CVPR 2017), written
from a description of what the reference computes. Labels equal those of deepcell-toolbox 0.12.1,
between equal pixels with `tie_rule="reference"`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cellmill.arrays.finite import require_finite
from cellmill.arrays.indexing import indices_in
from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.labels.finishing import finish_objects
from cellmill.labels.holes import fill_holes
from cellmill.labels.objects import erode_labels, remove_small_objects
from cellmill.morphology.flooding import flood_in_memory, watershed
from cellmill.morphology.hmaxima import h_maxima_places
from cellmill.morphology.maxima import ball_footprint, label_places, local_peaks
from cellmill.morphology.smoothing import blur_margin, smooth
from cellmill.morphology.tie_rules import TieRule
from cellmill.segmentation.deep_watershed.parameters import MaximaAlgorithm, WatershedParameters
from cellmill.segmentation.interface import NUMBERINGS, Numbering

_DEFAULTS = WatershedParameters()


def deep_watershed(
    outputs: Sequence[np.ndarray],
    radius: int = _DEFAULTS.radius,
    maxima_threshold: float = _DEFAULTS.maxima_threshold,
    interior_threshold: float = _DEFAULTS.interior_threshold,
    maxima_smooth: float = _DEFAULTS.maxima_smooth,
    interior_smooth: float = _DEFAULTS.interior_smooth,
    maxima_index: int = 0,
    interior_index: int = -1,
    label_erosion: int = _DEFAULTS.label_erosion,
    small_objects_threshold: float = _DEFAULTS.small_objects_threshold,
    fill_holes_threshold: float = _DEFAULTS.fill_holes_threshold,
    pixel_expansion: int | None = None,
    maxima_algorithm: MaximaAlgorithm = _DEFAULTS.maxima_algorithm,
    *,
    small_objects_fraction: float = _DEFAULTS.small_objects_fraction,
    exclude_border: int | bool = _DEFAULTS.exclude_border,
    numbering: Numbering = "canonical",
    tie_rule: TieRule = _DEFAULTS.tie_rule,
) -> np.ndarray:
    """Segment a batch; can be called as `deepcell_toolbox.deep_watershed` is.

    Differences from it: ids are canonical unless `numbering` says otherwise; NaN and infinity are
    refused (the reference crashes or never ends on them); integer, bool and float16 maps are
    computed as floats (it smooths integers in integer arithmetic and refuses the others); an
    unknown keyword is an error; labels are int32.

    Args:
        outputs: maps of equal shape `(N, Y, X, C)` or `(N, Z, Y, X, C)`; channel 0 is used.
        radius: of the neighbourhood of a maximum; `WatershedParameters` has this and the others in
            full.
        maxima_threshold: least height of a maximum, or the value it exceeds.
        interior_threshold: objects lie where the interior exceeds this.
        maxima_smooth: σ of a Gaussian on the maxima.
        interior_smooth: σ of a Gaussian on the interior.
        maxima_index: which of `outputs` has the maxima.
        interior_index: which of `outputs` has the interior.
        label_erosion: pixels taken off every object's edge.
        small_objects_threshold: objects with fewer pixels are dropped.
        fill_holes_threshold: holes with fewer pixels are filled, in 2-D.
        pixel_expansion: how far the interior is dilated; `None` is 0.
        maxima_algorithm: `h_maxima` or `peak_local_max`.
        small_objects_fraction: objects below this part of the median area are dropped too.
        exclude_border: no peaks nearer to the border, `peak_local_max` only; `True` is `radius`.
        numbering: `canonical` (1…n in raster order of first pixels) or `reference` (its ids, in
            raster order of markers).
        tie_rule: between equal pixels, `local` or `reference` (labels are the reference's there
            too, untiled only); see `watershed`.

    Returns:
        `(N, Y, X, 1)` or `(N, Z, Y, X, 1)` int32 labels, each image numbered from 1.

    Raises:
        BadInput: a parameter or a map is not what it must be, or holds NaN or infinity.

    Example:
        >>> y, x = np.indices((40, 40))
        >>> depth = np.maximum(0, 1 - np.hypot(y % 20 - 10, x % 20 - 10) / 9).astype(np.float32)
        >>> maps = [depth[np.newaxis, ..., np.newaxis]] * 2
        >>> deep_watershed(maps, interior_smooth=0)[0, 10::20, 10::20, 0].tolist()
        [[1, 2], [3, 4]]
    """
    parameters = WatershedParameters(
        radius=radius,
        maxima_threshold=maxima_threshold,
        interior_threshold=interior_threshold,
        maxima_smooth=maxima_smooth,
        interior_smooth=interior_smooth,
        label_erosion=label_erosion,
        small_objects_threshold=small_objects_threshold,
        small_objects_fraction=small_objects_fraction,
        fill_holes_threshold=fill_holes_threshold,
        pixel_expansion=pixel_expansion or 0,
        maxima_algorithm=maxima_algorithm,
        exclude_border=radius if exclude_border is True else exclude_border or 0,
        tie_rule=tie_rule,
    )
    count = len(outputs)
    for name, index in (("maxima_index", maxima_index), ("interior_index", interior_index)):
        if not -count <= index < count:
            _refuse(name, f"the index of one of {count} outputs", repr(index))
    maxima, interior = np.asarray(outputs[maxima_index]), np.asarray(outputs[interior_index])
    for image in (maxima, interior):
        if image.ndim not in (4, 5) or not image.shape[-1]:
            _refuse("outputs", "(N, Y, X, C) or (N, Z, Y, X, C)", f"{image.shape}")
    if maxima.shape[:-1] != interior.shape[:-1]:
        _refuse("outputs", f"equal shapes, {maxima.shape}", f"{interior.shape}")
    if len(maxima) == 1:
        # One image, which may be as large as memory bears, is not copied into a batch.
        found = segment_maps(maxima[0, ..., 0], interior[0, ..., 0], parameters, numbering)
        return found.astype(np.int32, copy=False)[np.newaxis, ..., np.newaxis]
    labels = np.zeros((*maxima.shape[:-1], 1), np.int32)
    for i in range(len(labels)):
        labels[i, ..., 0] = segment_maps(
            maxima[i, ..., 0], interior[i, ..., 0], parameters, numbering
        )
    return labels


def segment_maps(
    maxima: np.ndarray,
    interior: np.ndarray,
    parameters: WatershedParameters,
    numbering: Numbering = "canonical",
) -> np.ndarray:
    """Segment one image, `(Y, X)`, or one volume, `(Z, Y, X)`.

    In order: smooth both maps; expand the interior; find markers in the maxima; flood the interior
    from them where it exceeds its threshold; erode; drop small objects; fill holes; number.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)`, peaks at the objects' centres, any real dtype.
        interior: same shape, high within objects.
        parameters: all thresholds and radii.
        numbering: `canonical` or `reference`; see `deep_watershed`.

    Returns:
        int32 labels of the same shape, 1…n.

    Raises:
        BadInput: the maps differ in shape, are not 2-D or 3-D, are not real numbers, or hold NaN or
            infinity.
    """
    if numbering not in NUMBERINGS:
        _refuse("numbering", " or ".join(NUMBERINGS), repr(numbering))
    maxima, interior = _as_float(maxima, "maxima map"), _as_float(interior, "interior map")
    if maxima.ndim not in (2, 3) or maxima.shape != interior.shape:
        _refuse(
            "maxima and interior maps",
            "one shape, (Y, X) or (Z, Y, X)",
            f"{maxima.shape} and {interior.shape}",
        )
    if not maxima.size:
        return np.zeros(maxima.shape, np.int32)
    require_finite(maxima, "maxima map")
    require_finite(interior, "interior map")

    places = marker_places(smooth(maxima, parameters.maxima_smooth), parameters)
    ids = label_places(places, maxima.shape)
    if interior.ndim == 2 and interior.dtype == np.float32 and parameters.tie_rule == "local":
        read = functools.partial(_flooded_maps, interior, places, ids, parameters)
        labels = flood_in_memory(read, (interior.shape[0], interior.shape[1]))
    else:
        markers = np.zeros(maxima.shape, np.int32)
        markers.reshape(-1)[places] = ids
        interior = shaped_interior(interior, parameters)
        mask = interior > float(parameters.interior_threshold)
        labels = watershed(interior, markers, mask, parameters.tie_rule)
    labels = erode_labels(labels, parameters.label_erosion)
    finish_objects(
        labels,
        int(ids.max(initial=0)),
        small=parameters.small_objects_threshold,
        small_fraction=parameters.small_objects_fraction,
        holes=parameters.fill_holes_threshold,
        by_id=numbering == "reference",
    )
    return labels


def _flooded_maps(
    interior: np.ndarray,
    places: np.ndarray,
    ids: np.ndarray,
    parameters: WatershedParameters,
    window: Box,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window's shaped interior, markers and mask, made anew: cheaper than whole images of them.

    Args:
        interior: `(Y, X)` of the whole image, as the network gave it.
        places: of the markers' pixels, see `marker_places`.
        ids: of their markers.
        parameters: of the watershed.
        window: what is wanted.
    """
    shape = (interior.shape[0], interior.shape[1])
    threshold = float(parameters.interior_threshold)
    outer = window.grown(
        blur_margin(parameters.interior_smooth) + parameters.pixel_expansion, shape
    )
    raw = interior[outer.slices]
    markers = np.zeros(window.shape, np.int32)
    if raw.max() <= threshold - 1e-6 * abs(threshold):
        # A blur does not exceed what it blurs, but for rounding.
        return raw[window.within(outer)], markers, np.zeros(window.shape, bool)
    height = shaped_interior(raw, parameters)[window.within(outer)]
    inside = indices_in(places, window, shape)
    y, x = np.divmod(places[inside], shape[1])
    markers[y - window.y0, x - window.x0] = ids[inside]
    return height, markers, height > threshold


def shaped_interior(interior: np.ndarray, parameters: WatershedParameters) -> np.ndarray:
    """The map that is flooded: smoothed, then expanded.

    Args:
        interior: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite.
        parameters: `interior_smooth`, `pixel_expansion` count.
    """
    interior = smooth(interior, parameters.interior_smooth)
    if parameters.pixel_expansion:
        side = 2 * parameters.pixel_expansion + 1
        interior = ndimage.maximum_filter(interior, size=side, mode="nearest")
    return interior


def clean_up(labels: np.ndarray, parameters: WatershedParameters) -> np.ndarray:
    """Drop small objects, then fill holes (2-D only).

    Args:
        labels: `(Y, X)` or `(Z, Y, X)`, integer, flooded and eroded.
        parameters: `small_objects_threshold`, `small_objects_fraction`, `fill_holes_threshold`
            count.

    Returns:
        Labels of the same dtype, ids kept.
    """
    labels = remove_small_objects(
        labels, parameters.small_objects_threshold, parameters.small_objects_fraction
    )
    return fill_holes(labels, parameters.fill_holes_threshold) if labels.ndim == 2 else labels


def find_markers(maxima: np.ndarray, parameters: WatershedParameters) -> np.ndarray:
    """Label the maxima of a map with the algorithm that the parameters name.

    Args:
        maxima: `(Y, X)` or `(Z, Y, X)`, float32 or float64, finite, smoothed.
        parameters: `maxima_algorithm`, `maxima_threshold`, `radius`, `exclude_border` count.

    Returns:
        int32 of the same shape, 1…n in raster order, 0 elsewhere.
    """
    places = marker_places(maxima, parameters)
    markers = np.zeros(maxima.shape, np.int32)
    markers.reshape(-1)[places] = label_places(places, maxima.shape)
    return markers


def marker_places(maxima: np.ndarray, parameters: WatershedParameters) -> np.ndarray:
    """Find the maxima of a map with the algorithm that the parameters name.

    Args:
        maxima: as `find_markers`.
        parameters: as `find_markers`.

    Returns:
        Their places in the map laid flat, int64, ascending.
    """
    radius, threshold = int(parameters.radius), float(parameters.maxima_threshold)
    if parameters.maxima_algorithm == "h_maxima":
        return h_maxima_places(maxima, threshold, ball_footprint(radius, maxima.ndim))
    return np.flatnonzero(local_peaks(maxima, radius, threshold, parameters.exclude_border))


def _as_float(image: np.ndarray, what: str) -> np.ndarray:
    if image.dtype.kind not in "fiub":
        raise BadInput(what, expected="real numbers", found=str(image.dtype))
    return np.asarray(image, np.result_type(image.dtype, np.float32).newbyteorder("="))


def _refuse(what: str, expected: str, found: str) -> None:
    raise BadInput(what, expected=expected, found=found)
