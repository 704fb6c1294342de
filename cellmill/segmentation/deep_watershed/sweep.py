"""One image segmented with many parameters: what they share is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellmill.compute.threads import in_threads
from cellmill.labels.objects import areas_by_id, erode_labels, objects_at_border, small_objects
from cellmill.morphology.flooding import watershed
from cellmill.morphology.smoothing import smooth
from cellmill.segmentation.deep_watershed.in_memory import clean_up, find_markers, shaped_interior
from cellmill.segmentation.deep_watershed.parameters import WatershedParameters
from cellmill.segmentation.interface import Found

Indexed = list[tuple[int, WatershedParameters]]


def sweep(
    maxima: np.ndarray,
    interior: np.ndarray,
    points: Sequence[WatershedParameters],
    found: Found,
    threads: int | None = None,
) -> None:
    """Segment an image with each of many parameters; objects are those of `segment_maps`.

    Each smoothing, each set of markers and each flood is made once for all points that share it;
    markers are gone through by several threads.

    Args:
        maxima: `(Y, X)` float32, finite, peaks at the objects' centres.
        interior: `(Y, X)` float32, finite, high within objects.
        points: at least one.
        found: called with each label image, ids of any order, and the places of the points that
            gave it; by several threads.
        threads: how many; none is as many as there are.
    """
    indexed = list(enumerate(points))
    blurred = {
        sigma: smooth(maxima, sigma) for sigma in dict.fromkeys(p.maxima_smooth for p in points)
    }
    shaped = {
        key: shaped_interior(interior, same[0][1])
        for key, same in _by(indexed, "interior_smooth", "pixel_expansion").items()
    }

    def work(same: Indexed) -> None:
        first = same[0][1]
        markers = find_markers(blurred[first.maxima_smooth], first)
        for key, alike in _by(same, "interior_smooth", "pixel_expansion").items():
            flooded_alike = _by(alike, "interior_threshold", "label_erosion", "tie_rule")
            for flooded in flooded_alike.values():
                one = flooded[0][1]
                mask = shaped[key] > float(one.interior_threshold)
                labels = watershed(shaped[key], markers, mask, one.tie_rule)
                _clean(erode_labels(labels, one.label_erosion), flooded, found)

    marked = _by(
        indexed, "maxima_smooth", "maxima_algorithm", "maxima_threshold", "radius", "exclude_border"
    )
    in_threads(work, marked.values(), threads)


def _by(points: Indexed, *names: str) -> Mapping[tuple[Any, ...], Indexed]:
    """Points brought together by the values of some parameters, in order of appearance."""
    groups: dict[tuple[Any, ...], Indexed] = {}
    for index, point in points:
        key = tuple(getattr(point, name) for name in names)
        groups.setdefault(key, []).append((index, point))
    return groups


def _clean(labels: np.ndarray, points: Indexed, found: Found) -> None:
    """Clean up once for all points that drop the same objects and fill the same holes."""
    areas = areas_by_id(labels)
    cut = objects_at_border(labels, len(areas))
    alike: dict[tuple[bytes, float], Indexed] = {}
    for index, point in points:
        small = small_objects(
            areas[1:], cut[1:], point.small_objects_threshold, point.small_objects_fraction
        )
        key = (small.tobytes(), point.fill_holes_threshold)
        alike.setdefault(key, []).append((index, point))
    for same in alike.values():
        found(clean_up(labels, same[0][1]), [index for index, _ in same])
