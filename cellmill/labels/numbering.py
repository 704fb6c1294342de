"""Numbers of objects: canonical, dense, and by rank.

A label image is an integer array of any dimension; 0 is background and every other value names an
object, connected or not.
"""

from __future__ import annotations

import numpy as np

from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput

_INT32_OBJECTS = 2**31 - 1
_BLOCK = 1 << 22


def canonical_labels(labels: np.ndarray) -> np.ndarray:
    """Number objects 1…n in raster order of each object's first pixel.

    Two label images show the same objects exactly if their canonical forms are equal, so this is
    how results are compared. Canonical labels come out unchanged.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` (any dimension), integer or bool, not negative.

    Returns:
        An array of the same shape: int32, or int64 past 2³¹ - 1 objects.

    Raises:
        BadInput: the labels are not integers, or one is negative.

    Example:
        >>> canonical_labels(np.array([[0, 9, 9], [4, 4, 0]])).tolist()
        [[0, 1, 1], [2, 2, 0]]
    """
    labels = checked_labels(np.asarray(labels))
    flat = labels.reshape(-1)
    highest = int(flat.max(initial=0))
    if highest > 2 * flat.size + _BLOCK:
        values, inverse = np.unique(flat, return_inverse=True)
        offset = 0 if values[0] == 0 else 1
        flat = inverse.reshape(-1) + offset
        highest = len(values) - 1 + offset
    dtype = np.int32 if min(highest, flat.size) <= _INT32_OBJECTS else np.int64
    out = np.empty(flat.shape, dtype)
    _number(flat, np.zeros(highest + 1, dtype), out, 0)
    return out.reshape(labels.shape)


class CanonicalNumbers:
    """Numbers the objects of a label image that comes in parts, as `canonical_labels` does.

    What is held is a number for each id.

    Attributes:
        count: how many objects have come.

    Example:
        >>> numbers = CanonicalNumbers()
        >>> [numbers.of(np.array(part)).tolist() for part in ([[0, 9]], [[4, 9]])], numbers.count
        ([[[0, 1]], [[2, 1]]], 2)
    """

    def __init__(self) -> None:
        self.count = 0
        self._numbers: np.ndarray = np.zeros(1, np.int32)

    def of(self, part: np.ndarray) -> np.ndarray:
        """Number the next part in raster order; an id stands for one object in all of them.

        Args:
            part: any dimension, integer or bool, not negative, ids not far above the pixel count.

        Returns:
            int32 of the same shape.
        """
        flat = checked_labels(part).reshape(-1)
        missing = int(flat.max(initial=0)) + 1 - len(self._numbers)
        if missing > 0:
            self._numbers = np.concatenate([self._numbers, np.zeros(missing, np.int32)])
        out = np.empty(flat.shape, np.int32)
        self.count = int(_number(flat, self._numbers, out, self.count))
        return out.reshape(part.shape)


def dense_labels(labels: np.ndarray) -> np.ndarray:
    """Number objects 1…n, keeping the order of the ids they have.

    Args:
        labels: `(Y, X)` or `(Z, Y, X)` (any dimension), integer or bool, not negative.

    Returns:
        An array of the same shape: int32, or int64 past 2³¹ - 1 objects.

    Raises:
        BadInput: the labels are not integers, or one is negative.
    """
    labels = checked_labels(labels)
    if labels.size == 0:
        return labels.astype(np.int32)
    values, inverse = np.unique(labels, return_inverse=True)
    dtype = np.int32 if len(values) <= _INT32_OBJECTS else np.int64
    return (inverse.reshape(labels.shape) + (values[0] != 0)).astype(dtype)


def dense_ranks(*arrays: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Give ids of several arrays numbers from 1 in their order, 0 staying 0.

    Args:
        *arrays: int64 each, of any shapes.

    Returns:
        The ids by number, int64, 0 first; and the arrays as int32 numbers.
    """
    runs = [_runs(np.ascontiguousarray(array).reshape(-1)) for array in arrays]
    ids = np.unique(np.concatenate([np.zeros(1, np.int64), *(values for values, _ in runs)]))
    found = []
    for array, (values, starts) in zip(arrays, runs, strict=True):
        numbers = np.searchsorted(ids, values).astype(np.int32)
        ends = np.append(starts[1:], array.size)
        found.append(np.repeat(numbers, ends - starts).reshape(array.shape))
    return ids, found


def renumber(labels: np.ndarray, numbers: np.ndarray) -> None:
    """Give objects other numbers, in place.

    Args:
        labels: any dimension, integer, contiguous; written to.
        numbers: the new number of each id from 0 on.
    """
    if np.array_equal(numbers, np.arange(len(numbers))):
        return
    flat = labels.reshape(-1)
    in_threads(lambda cut: _renumber(flat[slice(*cut)], numbers), bands(flat.size, 1 << 20))


def checked_labels(labels: np.ndarray) -> np.ndarray:
    """Give labels as unsigned or signed integers; `BadInput` where they are none."""
    if labels.dtype == bool:
        return labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise BadInput("labels", expected="integers", found=str(labels.dtype))
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise BadInput("labels", expected="0 or more", found=str(labels.min()))
    return labels


@kernel
def _renumber(flat, numbers):  # type: ignore[no-untyped-def]
    for i in range(len(flat)):
        flat[i] = numbers[flat[i]]


@kernel
def _number(flat, numbers, out, count):  # type: ignore[no-untyped-def]
    """Number labels as they come; how many there are then, `count` having come before."""
    for i in range(len(flat)):
        label = flat[i]
        if label and not numbers[label]:
            count += 1
            numbers[label] = count
        out[i] = numbers[label]
    return count


@kernel
def _runs(flat):  # type: ignore[no-untyped-def]
    """Values of runs of equal neighbours and where each begins."""
    count = 0
    for i in range(len(flat)):
        if i == 0 or flat[i] != flat[i - 1]:
            count += 1
    values = np.empty(count, np.int64)
    starts = np.empty(count, np.int64)
    k = 0
    for i in range(len(flat)):
        if i == 0 or flat[i] != flat[i - 1]:
            values[k] = flat[i]
            starts[k] = i
            k += 1
    return values, starts
