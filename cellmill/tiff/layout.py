"""Which page of a TIFF holds which channel: image, pyramid level, Z, T, channel → plane.

A *plane* is one channel at one Z and T: all rows and columns of one sample. The layout is made
from the file's directories alone; no pixel is decoded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO
from xml.etree import ElementTree

import numpy as np
import tifffile

from cellmill.errors import BadInput
from cellmill.tiff.damage import (
    WHOLE,
    check_magic,
    damage_is_bad_input,
    lost_pages_are_bad_input,
)
from cellmill.tiff.metadata import PixelSize, channel_names, pixel_size

#: What a pixel is given as, by what is stored; other kinds are refused.
PIXEL_DTYPES: Mapping[str, str] = {
    "bool": "uint8",
    "uint8": "uint8",
    "uint16": "uint16",
    "float32": "float32",
    "int8": "float32",
    "int16": "float32",
    "float16": "float32",
    "uint32": "float32",
    "int32": "float32",
    "uint64": "float32",
    "int64": "float32",
    "float64": "float32",
}

_COLOUR = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
# A level may be this much coarser than asked for: 4097 px halve to 2048.
_LEVEL_TOLERANCE = 1.01


@dataclass(frozen=True)
class Plane:
    """Where a channel's pixels are: page of the level, position within the page.

    Attributes:
        number: of all planes of the level, in the file's order (samples side by side are one).
        page: index of its page in the level.
        stacked: which of the page's stacked planes (separate samples × depth) it is.
        sample: which of the samples that lie side by side.
    """

    number: int
    page: int
    stacked: int
    sample: int


@dataclass(frozen=True)
class TiffImage:
    """One image of an open TIFF: what it is, and where its channels are.

    Attributes:
        label: how messages call it.
        shape: (Y, X) of the chosen level, pixels.
        dtype: what its pixels are read as: uint8, uint16 or float32.
        stored_dtype: what they are stored as.
        channels: names of the channels; their indices where the file names none.
        unexplained: whether the channels are pages of which the file does not say what they are.
        colour: whether the samples are red, green and blue of one picture.
        mpp: pixel size (y, x) of the chosen level in microns, None where unknown.
        mpp_source: where it came from.
        level: the chosen pyramid level, 0 is full resolution.
        level_shapes: (Y, X) of every level.
        remarks: what a user should know about how the file was understood.
        planes: by channel.
        pages: the chosen level, for the reader.
    """

    label: str
    shape: tuple[int, int]
    dtype: np.dtype
    stored_dtype: np.dtype
    channels: tuple[str, ...]
    unexplained: bool
    colour: bool
    mpp: tuple[float, float] | None
    mpp_source: str
    level: int
    level_shapes: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]
    planes: tuple[Plane, ...]
    pages: tifffile.TiffPageSeries


@contextlib.contextmanager
def open_image(
    file: IO[bytes],
    name: str,
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z: int = -1,
    t: int = -1,
    series: int = -1,
) -> Iterator[TiffImage]:
    """Open the image in a TIFF.

    Args:
        file: a seekable binary file.
        name: what messages call it: a path or URI.
        mpp: the pixel size at full resolution, microns; overrides what the file says; 0: the
            file's.
        target_mpp: of a pyramid, read the coarsest level that is not coarser than this; 0: full
            resolution.
        z: which focal plane, 0-based; -1: the only one.
        t: which time point, 0-based; -1: the only one.
        series: which image of a file with several of one size; -1: the only one, or the largest.

    Yields:
        The image; its pages can be read while the file is open.

    Raises:
        BadInput: the file is no TIFF, damaged or cut off, or which image, Z or T is meant is not
            said.
    """
    label = f"image '{name}'"
    check_magic(file, label)
    with damage_is_bad_input(label, WHOLE), lost_pages_are_bad_input(label):
        # Planes in other files are not read: the digest of this one would not stand for them.
        tif = tifffile.TiffFile(file, _multifile=False)
    with tif:
        with damage_is_bad_input(label, WHOLE), lost_pages_are_bad_input(label):
            all_series = list(tif.series)
        if not all_series:
            raise BadInput(label, expected=WHOLE, found="no image in it")
        _check_one_file(tif, all_series, label)
        remarks: list[str] = []
        chosen = _choose_series(all_series, series, label, remarks)
        with damage_is_bad_input(label, WHOLE):
            size = pixel_size(tif, chosen)
        if mpp:
            size = PixelSize((mpp, mpp), "parameter")
        if size.remark:
            remarks.append(size.remark)
        with damage_is_bad_input(label, WHOLE):
            level = _choose_level(chosen, size, target_mpp, remarks)
            image = _layout(tif, chosen, level, size, z, t, label, remarks)
        yield image


def _check_one_file(
    tif: tifffile.TiffFile, all_series: list[tifffile.TiffPageSeries], label: str
) -> None:
    """Refuse an OME-TIFF whose planes are spread over files (or say that they are)."""
    if not tif.is_ome or all_series[0].kind in ("ome", "mmstack"):
        return
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return
    names = sorted({u.get("FileName", "?") for u in root.iter() if u.tag.endswith("}UUID")})
    if names:
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise BadInput(
            label,
            expected="an OME-TIFF with all its planes in one file",
            found=f"planes said to be in {listed}",
        )


def _choose_series(
    all_series: list[tifffile.TiffPageSeries], wanted: int, label: str, remarks: list[str]
) -> tifffile.TiffPageSeries:
    """Choose the one asked for; else the only one, or the largest if no other is of its size."""
    if wanted >= 0:
        if wanted >= len(all_series):
            raise BadInput(
                label, expected=f"an image number {wanted}", found=f"{len(all_series)} images"
            )
        return all_series[wanted]
    areas = [math.prod(_page_size(s)) for s in all_series]
    largest = [s for s, area in zip(all_series, areas, strict=True) if area == max(areas)]
    if len(largest) > 1:
        raise BadInput(
            label,
            expected=f"one image, or series=0…{len(all_series) - 1} to say which",
            found=f"{len(largest)} images of {largest[0].keyframe.imagelength} × "
            f"{largest[0].keyframe.imagewidth}",
        )
    if len(all_series) > 1:
        # Thumbnails, labels and macro photographs of slides.
        remarks.append(f"{len(all_series) - 1} smaller images in the file were left out")
    return largest[0]


def _page_size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    return series.keyframe.imagelength, series.keyframe.imagewidth


def _choose_level(
    series: tifffile.TiffPageSeries, size: PixelSize, target_mpp: float, remarks: list[str]
) -> int:
    if not target_mpp or len(series.levels) == 1:
        return 0
    if size.mpp is None:
        remarks.append("the pyramid is read at full resolution, for its pixel size is unknown")
        return 0
    full, (y, x) = _page_size(series), size.mpp
    shapes = [_page_size(level) for level in series.levels]
    return coarsest_level([(y * full[0] / s[0], x * full[1] / s[1]) for s in shapes], target_mpp)


def coarsest_level(sizes: Sequence[tuple[float, float]], target_mpp: float) -> int:
    """Return the last level whose pixels (y, x), in microns, are no larger than the target."""
    fine = [i for i, mpp in enumerate(sizes) if max(mpp) <= target_mpp * _LEVEL_TOLERANCE]
    return max(fine, default=0)


def _layout(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    level: int,
    size: PixelSize,
    z: int,
    t: int,
    label: str,
    remarks: list[str],
) -> TiffImage:
    pages = series.levels[level]
    page = pages.keyframe
    shape = _page_size(pages)
    if not math.prod(shape) or pages.dtype is None:
        raise BadInput(label, expected="pixels", found=f"an image of {shape[0]} × {shape[1]}")
    stored = np.dtype(pages.dtype).newbyteorder("=")
    if stored.name not in PIXEL_DTYPES:
        raise BadInput(label, expected="pixels that are integers or floats", found=f"{stored}")
    outer, samples = _split_axes(pages, label)
    roles = _axis_roles(outer, z, t, label)
    picked = {"Z": z, "T": t}
    sizes = {
        role: math.prod(n for r, n in zip(roles, outer.values(), strict=True) if r == role)
        for role in "CSZT"
    }
    for role in "ZT":
        picked[role] = pick_plane(role, sizes[role], picked[role], label)
    n_samples = sizes["S"] * samples
    colour = n_samples > 1 and page.photometric in _COLOUR
    names = _names(tif, series, sizes, n_samples, colour)
    lengths = list(outer.values())
    planes = []
    for c in range(sizes["C"]):
        for s in range(n_samples):
            at = {"C": c, "S": s // samples, **picked}
            index = [at[r] if n > 1 else 0 for r, n in zip(roles, lengths, strict=True)]
            number = int(np.ravel_multi_index(index, lengths)) if lengths else 0
            stacked = page.shaped[0] * page.shaped[1]
            planes.append(Plane(number, number // stacked, number % stacked, s % samples))
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        remarks.append("the file says that 0 is white; its values are taken as they are stored")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        remarks.append("the file has a colour table; its values are taken as intensities")
    full = _page_size(series)
    return TiffImage(
        label=label,
        shape=shape,
        dtype=np.dtype(PIXEL_DTYPES[stored.name]),
        stored_dtype=stored,
        channels=names,
        unexplained=any(k[0] not in "CSZT" and n > 1 for k, n in outer.items()) and sizes["C"] > 1,
        colour=colour,
        mpp=None
        if size.mpp is None
        else (size.mpp[0] * full[0] / shape[0], size.mpp[1] * full[1] / shape[1]),
        mpp_source=size.source,
        level=level,
        level_shapes=tuple(_page_size(s) for s in series.levels),
        remarks=tuple(remarks),
        planes=tuple(planes),
        pages=pages,
    )


def _split_axes(pages: tifffile.TiffPageSeries, label: str) -> tuple[dict[str, int], int]:
    """Return the axes before Y and X with their lengths, and the samples that lie side by side."""
    axes, lengths = pages.get_axes(squeeze=False), pages.get_shape(squeeze=False)
    at = axes.find("YX")
    page = pages.keyframe
    after = [(a, n) for a, n in zip(axes[at + 2 :], lengths[at + 2 :], strict=True) if n > 1]
    samples = page.shaped[4]
    if (
        at < 0
        or (lengths[at], lengths[at + 1]) != (page.imagelength, page.imagewidth)
        or math.prod(n for _, n in after) != samples
    ):
        raise BadInput(
            label,
            expected="pages of rows and columns (…YX or …YXS)",
            found=f"axes {axes} of {' × '.join(map(str, lengths))}",
        )
    # Two axes of one letter are told apart by their place.
    outer = {f"{a}{i}": int(n) for i, (a, n) in enumerate(zip(axes[:at], lengths, strict=False))}
    return outer, int(samples)


def _axis_roles(outer: Mapping[str, int], z: int, t: int, label: str) -> list[str]:
    """Say for each outer axis what it is: C, S, Z or T.

    Pages that no metadata explains are channels, unless Z or T is asked for and there is none.
    """
    known = {key: key[0] for key, n in outer.items() if key[0] in "CSZT"}
    unknown = [key for key, n in outer.items() if key[0] not in "CSZT" and n > 1]
    present = {role for key, role in known.items() if outer[key] > 1}
    free = [r for r, asked in (("Z", z >= 0), ("T", t >= 0)) if asked and r not in present]
    if "C" not in present:
        free.append("C")
    counted = [role for key, role in known.items() if outer[key] > 1]
    if len(unknown) > 1 or (unknown and not free) or len(set(counted)) != len(counted):
        sizes = ", ".join(f"{key[0]} {n}" for key, n in outer.items() if n > 1)
        raise BadInput(label, expected="no axes but channels, Z and T", found=f"axes {sizes}")
    return [known.get(key) or (free[0] if key in unknown else "C") for key in outer]


def pick_plane(role: str, length: int, asked: int, label: str) -> int:
    """Return the place along Z or T that is asked for, or the only one.

    Args:
        role: ``"Z"`` or ``"T"``.
        length: how many there are.
        asked: 0-based; -1: the only one.
        label: how messages call the image.

    Raises:
        BadInput: there are several and none is asked for, or there are not so many.
    """
    what = {"Z": "focal planes", "T": "time points"}[role]
    flag = role.lower()
    if asked < 0 and length > 1:
        raise BadInput(
            label, expected=f"{flag}=0…{length - 1} to say which", found=f"{length} {what}"
        )
    if asked >= length:
        raise BadInput(
            label,
            expected=f"{flag} from 0 to {length - 1}",
            found=f"{flag}={asked}" + (f" of {length} {what}" if length > 1 else ""),
        )
    return max(asked, 0)


def _names(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: Mapping[str, int],
    samples: int,
    colour: bool,
) -> tuple[str, ...]:
    given = channel_names(tif, series, sizes)
    channels = given or tuple(str(i) for i in range(sizes["C"]))
    if samples == 1:
        return channels
    letters = ["RGBA"[s] if colour and s < 4 else str(s) for s in range(samples)]
    if sizes["C"] == 1:
        return tuple(letters)
    return tuple(f"{channel} {letter}" for channel in channels for letter in letters)
