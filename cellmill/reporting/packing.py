"""Label images and tables of numbers, packed small enough to travel inside an HTML page.

The page's script (`report.js`) unpacks what is packed here; the two change together.
Everything is little-endian, zlib-compressed and in base64, so that a browser needs nothing but
`atob` and `DecompressionStream`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PackedLabels:
    """A label image as runs along its raster order.

    The bytes are the runs' labels, then their lengths, each split into planes: all lowest bytes,
    then all second bytes, and so on, which compresses better than whole numbers.

    Attributes:
        runs: how many runs.
        label_bytes: bytes a label, 1–8.
        length_bytes: bytes a length.
        data: base64.
    """

    runs: int
    label_bytes: int
    length_bytes: int
    data: str


def find_runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a label image into runs along its raster order, over the ends of rows.

    Args:
        labels: `(Y, X)` of an integer dtype, at least 0, with at least one pixel.

    Returns:
        The runs' labels and their lengths in px.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(np.append(starts, flat.size))


def pack_runs(labels: np.ndarray, lengths: np.ndarray) -> PackedLabels:
    """Pack a label image, given as `find_runs` gives it."""
    label_planes, length_planes = _planes(labels), _planes(lengths)
    return PackedLabels(
        runs=len(labels),
        label_bytes=len(label_planes),
        length_bytes=len(length_planes),
        data=_deflated(b"".join(label_planes + length_planes)),
    )


def pack_columns(columns: Sequence[np.ndarray]) -> str:
    """Pack columns of equal length as float32, one after another, in byte planes each.

    Args:
        columns: `(n,)` numbers or booleans; NaN stands for a missing value.

    Returns:
        base64.
    """
    planes = []
    for column in columns:
        whole = np.ascontiguousarray(column, dtype="<f4").view(np.uint8).reshape(-1, 4)
        planes += [whole[:, index].tobytes() for index in range(4)]
    return _deflated(b"".join(planes))


def _planes(values: np.ndarray) -> list[bytes]:
    whole = values.astype("<u8").view(np.uint8).reshape(-1, 8)
    count = max(1, -(-int(values.max()).bit_length() // 8))
    return [whole[:, index].tobytes() for index in range(count)]


def _deflated(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
