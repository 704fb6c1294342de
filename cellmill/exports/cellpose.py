"""Labels as Cellpose's own files: what its window opens, corrects and trains on.

Beside the image `NAME.tif` lie `NAME_cp_masks.tif` and `NAME_seg.npy`; with several kinds of object
each has its own, `NAME_KIND.tif` and so on. `_seg.npy` is a pickled dictionary: that is Cellpose's
form. Source: Cellpose's documentation, "Outputs" (cellpose.readthedocs.io).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Windowed

#: Colours of masks are drawn by turns along this step of the hue, the golden ratio's.
_HUE_STEP = 0.61803398875


def write_cellpose(
    folder: Path,
    name: str,
    image: Windowed,
    labels: Mapping[str, Windowed],
    segmented: Sequence[int] = (),
) -> None:
    """Write an image and its labels for Cellpose; they are held in memory, as Cellpose holds them.

    Args:
        folder: which is there.
        name: of the image.
        image: `(Y, X, C)`, or `(Z, Y, X, C)` of a volume.
        labels: label images `(Y, X)` or `(Z, Y, X)` by kind of object.
        segmented: channels that were segmented, which come first; Cellpose shows three at most.
    """
    count = image.shape[-1]
    shown = [*dict.fromkeys([*(c for c in segmented if 0 <= c < count), *range(count)])][:3]
    pixels = np.moveaxis(np.asarray(image[...])[..., shown], -1, -3)
    pixels = pixels[..., 0, :, :] if len(shown) == 1 else pixels
    for kind, array in labels.items():
        stem = name if len(labels) == 1 else f"{name}_{kind}"
        masks = np.asarray(array[...])
        masks = masks.astype(np.uint16 if masks.max(initial=0) < 1 << 16 else np.uint32)
        _write_tiff(folder / f"{stem}.tif", pixels)
        _write_tiff(folder / f"{stem}_cp_masks.tif", masks)
        found = np.array(_seg(f"{stem}.tif", masks), object)
        with (folder / f"{stem}_seg.npy").open("wb") as file:
            np.save(file, found, allow_pickle=True)


def _seg(filename: str, masks: np.ndarray) -> dict[str, Any]:
    count = int(masks.max(initial=0))
    return {
        "filename": filename,
        "masks": masks,
        "outlines": _outlines(masks),
        "colors": _colours(count),
        "chan_choose": [0, 0],
        "ismanual": np.zeros(count, bool),
        "zdraw": [None] * count,
    }


def _outlines(masks: np.ndarray) -> np.ndarray:
    """The pixels of objects that touch, in their plane, by a side what is not theirs."""
    framed = np.pad(masks, [(0, 0)] * (masks.ndim - 2) + [(1, 1)] * 2)
    inner = framed[..., 1:-1, 1:-1]
    edge = np.zeros(masks.shape, bool)
    beside = ((0, 1), (2, 1), (1, 0), (1, 2))
    height, width = masks.shape[-2:]
    for y, x in beside:
        edge |= framed[..., y : y + height, x : x + width] != inner
    return np.where(edge, masks, 0).astype(masks.dtype)


def _colours(count: int) -> np.ndarray:
    """A colour a mask, `(N, 3)` uint8, neighbours in number far apart."""
    hue = (np.arange(count) * _HUE_STEP % 1.0)[:, np.newaxis] * 6
    ramps = np.abs(hue - np.array([3.0, 2.0, 4.0])) * np.array([1, -1, -1])
    return (np.clip(ramps + np.array([-1.0, 2.0, 2.0]), 0, 1) * 255).astype(np.uint8)


def _write_tiff(path: Path, array: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as out:
        out.write(
            array,
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            software="cellmill",
        )
