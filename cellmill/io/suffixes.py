"""What files of images and of truths end in, for folders, globs and prefixes, and for names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: TIFF in all its dresses: tifffile's own, BigTIFF, and what microscopes and slide scanners write.
_TIFF = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
_OF_INSTRUMENTS = (".qptiff", ".svs", ".ndpi", ".scn", ".bif", ".lsm", ".stk")
#: A folder that is one image.
_ZARR = ".zarr"

#: Formats of microscopes that packages of their own read.
INSTRUMENT_SUFFIXES = (".czi", ".nd2", ".lif", ".oib", ".oif")
#: What other programs read, and convert.
_TO_CONVERT = (".vsi", ".dcm", ".zvi", ".ims")

#: Of images.
IMAGE_SUFFIXES = (*_TIFF, *_OF_INSTRUMENTS, _ZARR, *INSTRUMENT_SUFFIXES)
#: Of images, too, where a folder or a glob has none of those: beside them a PNG is a mask, an
#: overlay or a figure.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
#: Of truths.
TRUTH_SUFFIXES = (*_TIFF, _ZARR, ".png", ".npy", ".npz")


def is_zarr(name: str) -> bool:
    """Whether a path or URI names a Zarr, a folder that is one image, or a group within one.

    Example:
        >>> [is_zarr(name) for name in ("a.ome.zarr", "plate.zarr/A/1/0/", "a.zarr/b.tif", "zarr")]
        [True, True, False, False]
    """
    lower = name.rstrip("/").lower()
    return lower.endswith(_ZARR) or (f"{_ZARR}/" in lower and not lower.endswith(TRUTH_SUFFIXES))


def is_of_instrument(name: str) -> bool:
    """Whether a path or URI names a file in a microscope's own format.

    Example:
        >>> is_of_instrument("run 1/a.CZI"), is_of_instrument("a.lsm")
        (True, False)
    """
    return name.lower().endswith(INSTRUMENT_SUFFIXES)


def name_in_zarr(parts: Sequence[str]) -> str:
    """Return what a group within a Zarr is called, by the parts of its path: `plate_A_1_0`.

    Args:
        parts: the last may be the Zarr itself.
    """
    at = max((i for i, part in enumerate(parts) if part.lower().endswith(_ZARR)), default=-1)
    return "_".join([stem_of(parts[at]), *parts[at + 1 :]])


def stem_of(name: str) -> str:
    """Return a file's name without its suffix, and without the `.ome` before it.

    Example:
        >>> [stem_of(name) for name in ("a.ome.tif", "b.c.TIFF", "d.ome.zarr", "e", ".tif")]
        ['a', 'b.c', 'd', 'e', '.tif']
    """
    last = name.rfind(".")
    stem = name[:last] if 0 < last < len(name) - 1 else name
    return re.sub(r"(?<=.)\.ome$", "", stem, flags=re.IGNORECASE)


def converted_by(name: str) -> str:
    """Return the command that makes an image of an instrument's own format one that is read.

    Args:
        name: of a file, or what else stands for it.

    Returns:
        The command; empty where the name ends in none of the formats' suffixes.

    Example:
        >>> converted_by("run 1/a.vsi"), converted_by("a.tif")
        ("bioformats2raw 'run 1/a.vsi' a.zarr", '')
    """
    if not name.lower().endswith(_TO_CONVERT):
        return ""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return f"bioformats2raw {shlex.quote(name)} {shlex.quote(stem_of(last) + _ZARR)}"
