"""Label images resampled by nearest neighbour.

Two sample positions are kept on purpose: DeepCell resamples one compartment with OpenCV and several
with scikit-image, and they differ in many pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cellmill.arrays.indexing import box_of
from cellmill.arrays.windows import Windowed


class ResizedLabels:
    """A label image resampled by nearest neighbour, of which any window can be read.

    No label is invented or mixed. One compartment: OpenCV's sample positions. Several (whole-cell
    and nuclear): scikit-image's. The two differ in many pixels; each is what DeepCell uses in that
    case.

    Args:
        labels: `(Y, X)` or `(Y, X, C)`, integer; of a volume `(Z, Y, X)`.
        shape: the new `(Y, X)` or `(Z, Y, X)`.
        compartments: how many were asked for in the run; the array may show one of two.
    """

    def __init__(self, labels: Windowed, shape: Sequence[int], compartments: int = 1) -> None:
        self.labels, self._axes = labels, len(shape)
        self.shape: tuple[int, ...] = (*map(int, shape), *labels.shape[len(shape) :])
        self.dtype = labels.dtype
        self._nearest = opencv_nearest if compartments == 1 else scikit_image_nearest

    def __getitem__(self, window: Any, /) -> np.ndarray:
        """Read a window."""
        box, rest = box_of(window, self.shape, self._axes)
        if 0 in box.shape:
            return np.zeros((*box.shape, *self.shape[self._axes :]), self.dtype)[rest]
        nearest = [
            self._nearest(length, resized, *edges)
            for length, resized, edges in zip(
                self.labels.shape[: self._axes], self.shape, box.edges, strict=False
            )
        ]
        source = self.labels[tuple(slice(along[0], along[-1] + 1) for along in nearest)]
        taken: np.ndarray = source[np.ix_(*(along - along[0] for along in nearest))]
        return taken[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all of it."""
        out = np.asarray(self[:, :])
        return out if dtype is None else out.astype(dtype, copy=False)


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a label image by nearest neighbour, as `ResizedLabels` says.

    Args:
        labels: `(Y, X)`, `(Y, X, 1)` or `(Y, X, compartments)`, integer.
        shape: the new `(Y, X)`.

    Returns:
        `(*shape, …)` of the same dtype; the labels themselves if they have that shape already.
    """
    if labels.shape[:2] == tuple(shape):
        return labels
    compartments = labels.shape[2] if labels.ndim == 3 else 1
    return np.asarray(ResizedLabels(labels, shape, compartments))


def opencv_nearest(length: int, resized: int, start: int, stop: int) -> np.ndarray:
    """The source pixel that OpenCV's nearest neighbour takes along an axis, int64."""
    place = np.arange(start, stop) * (1.0 / (resized / length))
    return np.minimum(np.floor(place).astype(np.int64), length - 1)


def scikit_image_nearest(length: int, resized: int, start: int, stop: int) -> np.ndarray:
    """The source pixel that scikit-image's nearest neighbour takes along an axis, int64."""
    place = (np.arange(start, stop) + 0.5) * (length / resized) - 0.5
    return np.clip(np.floor(place + 0.5).astype(np.int64), 0, length - 1)
