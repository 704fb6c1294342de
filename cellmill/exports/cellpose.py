"""Labels as Cellpose's own files: what its window opens, corrects and trains on.

Beside the image `NAME.tif` lie `NAME_cp_masks.tif` and `NAME_seg.npy`; with several kinds of object
each has its own, `NAME_KIND.tif` and so on. `_seg.npy` is a pickled dictionary: that is Cellpose's
form. Source: Cellpose's documentation, "Outputs" (cellpose.readthedocs.io).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmill.arrays.windows import Windowed, sections_of

#: Colours of masks are drawn by turns along this step of the hue, the golden ratio's.
_HUE_STEP = 0.61803398875


def write_cellpose(
    folder: Path,
    name: str,
    image: Windowed,
    labels: Mapping[str, Windowed],
    segmented: Sequence[int] = (),
) -> None:
    """Write an image and its labels for Cellpose.

    Images go plane by plane; masks and outlines are held, for `_seg.npy` is written at once.

    Args:
        folder: which is there.
        name: of the image.
        image: `(Y, X, C)`, or `(Z, Y, X, C)` of a volume.
        labels: label images `(Y, X)` or `(Z, Y, X)` by kind of object.
        segmented: channels that were segmented, which come first; Cellpose shows three at most.
    """
    count = image.shape[-1]
    shown = [*dict.fromkeys([*(c for c in segmented if 0 <= c < count), *range(count)])][:3]
    depth = () if len(image.shape) == 3 else image.shape[:1]
    size = image.shape[-3:-1]
    pages = (*depth, *((len(shown),) if len(shown) > 1 else ()), *size)
    for kind, array in labels.items():
        stem = name if len(labels) == 1 else f"{name}_{kind}"
        planes = (np.asarray(plane[...])[..., c] for plane in sections_of(image, 3) for c in shown)
        _write_tiff(folder / f"{stem}.tif", planes, pages, image.dtype)
        masks = _masks(array)
        _write_tiff(folder / f"{stem}_cp_masks.tif", sections_of(masks), masks.shape, masks.dtype)
        found = np.array(_seg(f"{stem}.tif", masks), object)
        with (folder / f"{stem}_seg.npy").open("wb") as file:
            np.save(file, found, allow_pickle=True)


def _masks(labels: Windowed) -> np.ndarray:
    """Labels as Cellpose keeps them: in 16 bits where they fit, else in 32."""
    highest = max(int(plane[...].max(initial=0)) for plane in sections_of(labels))
    masks = np.empty(labels.shape, np.uint16 if highest < 1 << 16 else np.uint32)
    for plane, source in zip(sections_of(masks), sections_of(labels), strict=True):
        plane[...] = source[...]
    return masks


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
    found = np.empty_like(masks)
    for plane, out in zip(sections_of(masks), sections_of(found), strict=True):
        framed = np.pad(plane[...], 1)
        edge = np.zeros(plane.shape, bool)
        height, width = plane.shape
        for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
            edge |= framed[y : y + height, x : x + width] != plane[...]
        out[...] = np.where(edge, plane[...], 0)
    return found


def _colours(count: int) -> np.ndarray:
    """A colour a mask, `(N, 3)` uint8, neighbours in number far apart."""
    hue = (np.arange(count) * _HUE_STEP % 1.0)[:, np.newaxis] * 6
    ramps = np.abs(hue - np.array([3.0, 2.0, 4.0])) * np.array([1, -1, -1])
    return (np.clip(ramps + np.array([-1.0, 2.0, 2.0]), 0, 1) * 255).astype(np.uint8)


def _write_tiff(
    path: Path, planes: Iterable[Windowed], shape: tuple[int, ...], dtype: np.dtype
) -> None:
    """Write planes `(Y, X)` as the pages of a file of that shape."""
    with tifffile.TiffWriter(path) as out:
        out.write(
            (np.asarray(plane[...]) for plane in planes),
            shape=shape,
            dtype=dtype,
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            software="cellmill",
        )
