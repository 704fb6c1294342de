"""Reads label images made by others: the truth that a segmentation is measured against.

Read are TIFF, PNG, ``.npy`` and ``.npz`` files that hold

- integers ``(Y, X)``, 0 for background and a number per object, kept as they are;
- two of those, ``(Y, X, 2)`` or ``(2, Y, X)``: whole cells, then nuclei; in an ``.npz`` also as the
  arrays ``whole_cell`` and ``nuclear``;
- colours, one an object, as in mnfinder's masks: an object is a connected piece of one colour;
- a mask of yes and no (``bool``, or 0 and 255): an object is a connected piece.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from PIL import Image
from skimage.measure import label as label_pieces

from cellmill.arrays.windows import Grid, WritableWindowed
from cellmill.errors import BadInput
from cellmill.images import read_pixels
from cellmill.tiff.damage import damage_is_bad_input
from cellmill.tiff.layout import TiffImage, open_image
from cellmill.tiff.read import read_channels
from cellmill.tiff.stored import check_complete

if TYPE_CHECKING:
    from cellmill.arrays.store import Ledger
    from cellmill.zarr_images import ZarrImage

#: Pieces of one colour below this many pixels are remains of drawing and scaling, not objects.
SPECK = 30
_LARGEST = np.iinfo(np.int32).max
#: Side of the windows that labels are looked through in, a store's shard.
_WINDOW = 2048


@dataclass(frozen=True)
class Truth:
    """Label images made by others.

    Attributes:
        labels: int32 ``(Y, X)``, or ``(Y, X, 2)``: whole cells, nuclei.
        remarks: what had to be done to get them.
    """

    labels: np.ndarray
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.labels.shape[0], self.labels.shape[1]


def read_truth(file: IO[bytes], name: str) -> Truth:
    """Read label images.

    Args:
        file: a seekable binary file.
        name: what messages call it: a path or URI.

    Raises:
        BadInput: the file is damaged, of another kind, or holds no label images.
    """
    label = f"truth '{name}'"
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    if not head:
        raise BadInput(label, expected="a label image", found="an empty file")
    if head.startswith(b"\xff\xd8\xff"):
        raise BadInput(
            label, expected="a TIFF, PNG, .npy or .npz", found="a JPEG, which keeps no labels"
        )
    reader: Callable[[IO[bytes], str], np.ndarray]
    if head[:2] in (b"II", b"MM"):
        pixels = _read_tiff(file, name)
    else:
        for magic, reader in _READERS.items():
            if head.startswith(magic):
                with damage_is_bad_input(label, "a whole, readable file"):
                    pixels = reader(file, label)
                break
        else:
            raise BadInput(
                label,
                expected="a TIFF, PNG, .npy or .npz",
                found=f"a file that begins with {head[:8]!r}",
            )
    return truth_from_pixels(pixels, label)


def copy_labels(
    image: TiffImage | ZarrImage,
    out: WritableWindowed,
    *,
    memory_mib: int = 1024,
    ledger: Ledger | None = None,
) -> None:
    """Copy a label image of any size, window by window.

    Args:
        image: one label image, or two: whole cells, nuclei. Colours and masks of yes and no are not
            taken apart here: what is a piece is known only where the whole is.
        out: ``(Y, X)`` or ``(Y, X, 2)`` int32; filled.
        memory_mib: what may be taken.
        ledger: marks of what is copied already.

    Raises:
        BadInput: the file is damaged, or its values are none of a label image.
    """
    count = len(image.channels)
    if image.colour or len(out.shape) != (3 if count == 2 else 2) or count > 2:
        raise BadInput(image.label, expected="one label image, or two", found=f"{count} channels")
    planes = out if count == 2 else _OneChannel(out)
    read_pixels(image, range(count), planes, memory_mib=memory_mib, ledger=ledger)
    low = high = 0
    mask = True
    grid = Grid((out.shape[0], out.shape[1]), _WINDOW)
    for tile in range(len(grid)):
        pixels = out[grid.box(tile).slices]
        low, high = min(low, int(pixels.min())), max(high, int(pixels.max()))
        mask = mask and bool(((pixels == 0) | (pixels == 255)).all())
    if low < 0:
        raise BadInput(image.label, expected="labels from 0", found=f"label {low}")
    if image.stored_dtype.kind == "b" or (mask and high == 255):
        raise BadInput(
            image.label,
            expected=f"a number per object, in an image of {image.shape[0]} × {image.shape[1]}",
            found="a mask of yes and no",
        )


@dataclass(frozen=True)
class _OneChannel:
    """A ``(Y, X)`` array shown as ``(Y, X, 1)``."""

    plane: WritableWindowed

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.plane.shape, 1)

    @property
    def dtype(self) -> np.dtype:
        return self.plane.dtype

    def __getitem__(self, window: Any, /) -> np.ndarray:
        return self.plane[window[:2]]

    def __setitem__(self, window: Any, values: Any, /) -> None:
        self.plane[window[:2]] = values


def truth_from_pixels(pixels: np.ndarray, label: str) -> Truth:
    """Make label images of pixels as they were stored.

    Args:
        pixels: ``(Y, X)``, ``(Y, X, C)`` or ``(C, Y, X)`` of one to four channels.
        label: what messages call it.

    Raises:
        BadInput: shape, dtype or values are none of a label image.
    """
    shape = pixels.shape
    if pixels.size == 0:
        raise BadInput(label, expected="pixels", found=f"shape {shape}")
    while pixels.ndim > 2 and pixels.shape[0] == 1:
        pixels = pixels[0]
    while pixels.ndim > 2 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[-1] not in (2, 3, 4) and pixels.shape[0] in (2, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[-1] in (2, 3, 4)):
        raise BadInput(
            label,
            expected="a label image (Y, X), or two (Y, X, 2), or colours (Y, X, 3 or 4)",
            found=f"shape {shape}",
        )
    if pixels.ndim == 3 and pixels.shape[-1] > 2:
        return _from_colours(pixels, label)
    if pixels.ndim == 2:
        return _from_numbers(pixels, label)
    parts = [_from_numbers(pixels[..., i], label) for i in range(2)]
    remarks = tuple(dict.fromkeys(remark for part in parts for remark in part.remarks))
    return Truth(np.stack([part.labels for part in parts], axis=-1), remarks)


def _from_numbers(pixels: np.ndarray, label: str) -> Truth:
    if pixels.dtype.kind == "f":
        wrong = int(np.count_nonzero(~np.isfinite(pixels) | (pixels != np.round(pixels))))
        if wrong:
            raise BadInput(label, expected="whole numbers", found=f"{wrong} pixels that are none")
        pixels = pixels.astype(np.int64)
    elif pixels.dtype.kind not in "iub":
        raise BadInput(label, expected="whole numbers", found=f"{pixels.dtype}")
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > _LARGEST:
        raise BadInput(
            label,
            expected=f"labels from 0 to {_LARGEST}",
            found=f"label {low if low < 0 else high}",
        )
    is_mask = pixels.dtype.kind == "b" or (
        high == 255 and bool(((pixels == 0) | (pixels == 255)).all())
    )
    if is_mask:
        pieces, count = label_pieces(pixels != 0, return_num=True, connectivity=2)
        return Truth(
            pieces.astype(np.int32),
            (f"a mask of yes and no: its {count} connected pieces are taken as objects",),
        )
    remarks: tuple[str, ...] = ()
    if high == 1:
        count = int(label_pieces(pixels == 1, return_num=True, connectivity=2)[1])
        if count > 1:
            # It may be a mask, but label images of one object in pieces exist: labels are kept.
            remarks = (f"one label only, 1, on {count} pieces apart: taken as one object",)
    return Truth(pixels.astype(np.int32), remarks)


def _from_colours(pixels: np.ndarray, label: str) -> Truth:
    if pixels.dtype.kind not in "iub":
        raise BadInput(label, expected="colours in integers", found=f"{pixels.dtype}")
    red, green, blue = (pixels[..., i] for i in range(3))
    solid = pixels[..., 3] != 0 if pixels.shape[-1] == 4 else np.ones(red.shape, bool)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        grey = _from_numbers(np.where(solid, red, np.zeros_like(red)), label)
        return Truth(grey.labels, (*grey.remarks, "grey stored as colours: taken as numbers"))
    # One number per colour, of 16 bits a primary at most. Black and transparent are background.
    codes = (red.astype(np.int64) << 32) | (green.astype(np.int64) << 16) | blue.astype(np.int64)
    codes[~solid] = 0
    pieces = label_pieces(codes, background=0, connectivity=2)
    sizes = np.bincount(pieces.ravel())
    keep = sizes >= SPECK
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    objects = int(keep.sum())
    specks = len(sizes) - 1 - objects
    return Truth(
        renumbered[pieces],
        (
            f"colours: {objects} connected pieces of one colour are taken as objects,"
            f" {specks} below {SPECK} px left out",
        ),
    )


def _read_tiff(file: IO[bytes], name: str) -> np.ndarray:
    try:
        with open_image(file, name) as image:
            if len(image.channels) > 4:
                raise BadInput(
                    image.label,
                    expected="one or two label images, or colours",
                    found=f"{len(image.channels)} channels",
                )
            channels = range(len(image.channels))
            check_complete(image, channels)
            out = np.empty((*image.shape, len(channels)), image.stored_dtype)
            read_channels(image, channels, out)
            return out
    except BadInput as error:
        what = error.what.replace("image ", "truth ", 1)
        raise BadInput(what, expected=error.expected, found=error.found) from error


def _read_png(file: IO[bytes], label: str) -> np.ndarray:
    data = file.read()
    # Byte 25 of a PNG is its colour type; 3 is a palette, whose indices are the labels.
    if data[25:26] == b"\x03":
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    pixels = np.asarray(imagecodecs.png_decode(data))
    if data[25:26] == b"\x04":
        # Grey with alpha: what cannot be seen is background.
        return np.where(pixels[..., 1] != 0, pixels[..., 0], pixels.dtype.type(0))
    return pixels


def _read_npy(file: IO[bytes], label: str) -> np.ndarray:
    return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(file: IO[bytes], label: str) -> np.ndarray:
    if not zipfile.is_zipfile(file):
        raise BadInput(label, expected="an .npz", found="a damaged ZIP archive")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        keys = list(arrays.files)
        if {"whole_cell", "nuclear"} <= set(keys):
            both = [arrays["whole_cell"], arrays["nuclear"]]
            if both[0].shape != both[1].shape:
                found = f"shapes {both[0].shape} and {both[1].shape}"
                raise BadInput(label, expected="whole_cell and nuclear alike", found=found)
            return np.stack(both, axis=-1)
        key = "labels" if "labels" in keys else keys[0] if len(keys) == 1 else ""
        if not key:
            raise BadInput(
                label,
                expected="an array 'labels', arrays 'whole_cell' and 'nuclear', or one array",
                found=", ".join(keys[:8]) or "no arrays",
            )
        return np.asarray(arrays[key])


_READERS: dict[bytes, Callable[[IO[bytes], str], np.ndarray]] = {
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"\x93NUMPY": _read_npy,
    b"PK": _read_npz,
}
