"""One image segmented with many parameters: what they share is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellmill.compiled import in_threads
from cellmill.metrics import pair_labels
from cellmill.preprocessing.finite import require_finite
from cellmill.preprocessing.resize import resize_labels
from cellmill.segmentation import (
    WatershedParameters,
    areas_by_id,
    clean_up,
    erode_labels,
    find_markers,
    objects_at_border,
    shaped_interior,
    small_objects,
    smooth,
    watershed,
)
from cellmill.tuning.scores import Counted, Scores, counted

#: What a thread takes for a pixel; and a map that threads share.
BYTES_PER_PIXEL = 80
BYTES_PER_MAP = 4

Indexed = list[tuple[int, WatershedParameters]]


def score_points(
    maxima: np.ndarray,
    interior: np.ndarray,
    truth: np.ndarray,
    points: Sequence[WatershedParameters],
    threads: int | None = None,
) -> Scores:
    """Segment an image with each of many parameters and score it against the truth.

    Labels are those of `segment_maps`, at the truth's resolution. Each smoothing, each set of
    markers and each flood is made once for all points that share it; markers are gone through by
    several threads.

    Args:
        maxima: `(Y', X')` float32, peaks at the objects' centres.
        interior: `(Y', X')` float32, high within objects.
        truth: `(Y, X)` integer, 0 is background.
        points: at least one.
        threads: how many; each takes `BYTES_PER_PIXEL`. None is as many as there are.

    Raises:
        BadInput: a map holds NaN or infinity, or the truth is no label image.
    """
    require_finite(maxima, "maxima map")
    require_finite(interior, "interior map")
    indexed = list(enumerate(points))
    blurred = {
        sigma: smooth(maxima, sigma) for sigma in dict.fromkeys(p.maxima_smooth for p in points)
    }
    shaped = {
        key: shaped_interior(interior, same[0][1])
        for key, same in _by(indexed, "interior_smooth", "pixel_expansion").items()
    }

    def work(same: Indexed) -> list[tuple[int, Counted]]:
        first = same[0][1]
        markers = find_markers(blurred[first.maxima_smooth], first)
        found = []
        for key, alike in _by(same, "interior_smooth", "pixel_expansion").items():
            for flooded in _by(alike, "interior_threshold", "label_erosion").values():
                one = flooded[0][1]
                mask = shaped[key] > float(one.interior_threshold)
                labels = watershed(shaped[key], markers, mask)
                found += _cleaned(erode_labels(labels, one.label_erosion), truth, flooded)
        return found

    marked = _by(
        indexed, "maxima_smooth", "maxima_algorithm", "maxima_threshold", "radius", "exclude_border"
    )
    done = in_threads(work, marked.values(), threads)
    counts = dict(point for part in done for point in part)
    return Scores.of([counts[i] for i in range(len(points))])


def _by(points: Indexed, *names: str) -> Mapping[tuple[Any, ...], Indexed]:
    """Points brought together by the values of some parameters, in order of appearance."""
    found: dict[tuple[Any, ...], Indexed] = {}
    for index, point in points:
        key = tuple(getattr(point, name) for name in names)
        found.setdefault(key, []).append((index, point))
    return found


def _cleaned(labels: np.ndarray, truth: np.ndarray, points: Indexed) -> list[tuple[int, Counted]]:
    """Clean up and pair with the truth; points that drop the same objects share the result."""
    areas = areas_by_id(labels)
    cut = objects_at_border(labels, len(areas))
    known: dict[tuple[bytes, float], Counted] = {}
    found = []
    for index, point in points:
        small = small_objects(
            areas[1:], cut[1:], point.small_objects_threshold, point.small_objects_fraction
        )
        key = (small.tobytes(), point.fill_holes_threshold)
        if key not in known:
            cleaned = clean_up(labels, point)
            if cleaned.shape != truth.shape:
                shape = (truth.shape[0], truth.shape[1])
                cleaned = resize_labels(cleaned[..., np.newaxis], shape)[..., 0]
            known[key] = counted(pair_labels(truth, cleaned))
        found.append((index, known[key]))
    return found
