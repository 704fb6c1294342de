"""One image segmented with many parameters of a method, each scored against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.compute.threads import in_threads
from cellmill.labels.pairs import pair_labels
from cellmill.labels.resizing import resize_labels
from cellmill.segmentation.interface import Maps, Method
from cellmill.tuning.scores import Counted, Scores, counted


def score_points(
    method: Method,
    maps: Maps,
    truth: np.ndarray,
    points: Sequence[Any],
    threads: int | None = None,
) -> Scores:
    """Segment an image with each of many parameters and score it against the truth.

    Objects are those of the method's `segment`, at the truth's resolution. Label images that
    several points share are scored once.

    Args:
        method: the method.
        maps: what it reads, two-dimensional.
        truth: `(Y, X)` integer, 0 is background.
        points: parameters of the method, at least one.
        threads: how many; each takes the method's `bytes_per_pixel`. None is as many as there are.

    Raises:
        BadInput: a map holds NaN or infinity, or the truth is no label image.
    """
    shape = (truth.shape[0], truth.shape[1])
    counts: dict[int, Counted] = {}

    def found(labels: np.ndarray, places: Sequence[int]) -> None:
        if labels.shape != shape:
            labels = resize_labels(labels[..., np.newaxis], shape)[..., 0]
        counts.update(dict.fromkeys(places, counted(pair_labels(truth, labels))))

    if method.sweep is not None:
        method.sweep.run(maps, points, found, threads)
    else:
        in_threads(
            lambda place: found(method.segment(maps, points[place], "canonical"), [place]),
            range(len(points)),
            threads,
        )
    return Scores.of([counts[place] for place in range(len(points))])


def shared_bytes(method: Method, points: Sequence[Any]) -> int:
    """Bytes a pixel that all points share, beside what each thread takes."""
    return method.sweep.shared_bytes(points) if method.sweep is not None else 0
