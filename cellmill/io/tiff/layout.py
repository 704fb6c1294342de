"""Which page of a TIFF holds which channel: image, pyramid level, Z, T, channel → plane.

A *plane* is one channel at one Z and T: all rows and columns of one sample. The layout is made
from the file's directories alone; no pixel is decoded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.axes import (
    FocalPlane,
    axis_roles,
    check_channels,
    pick_plane,
    pick_planes,
    split_axes,
    unnamed_planes,
)
from cellmill.io.tiff.damage import WHOLE, damage_is_bad_input
from cellmill.io.tiff.file_set import FileSet, companion_xml, read_companion
from cellmill.io.tiff.levels import Level, Series, size_of
from cellmill.io.tiff.metadata import channel_names, imagej_labels, pixel_size, remark_on_shown
from cellmill.io.tiff.ome_tiff import UnlikeOme, ome_series
from cellmill.io.tiff.ome_xml import is_ome_xml, parse_ome_xml
from cellmill.io.tiff.opened import OpenTiff
from cellmill.io.tiff.pixel_size import PixelSize
from cellmill.io.tiff.select import shown_names
from cellmill.io.tiff.series import find_series

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
        shape: (Y, X) of the chosen level, or (Z, Y, X) of a volume, pixels.
        dtype: what its pixels are read as: uint8, uint16 or float32.
        stored_dtype: what they are stored as.
        channels: names of the channels; their indices where the file names none.
        unexplained: whether the channels are pages of which the file does not say what they are.
        colour: whether the samples are red, green and blue of one picture.
        mpp: pixel size (y, x) of the chosen level in microns, (z, y, x) of a volume; None where one
            of them is unknown.
        mpp_source: where it came from.
        level: the chosen pyramid level, 0 is full resolution.
        level_shapes: (Y, X) of every level.
        remarks: what a user should know about how the file was understood.
        planes: by channel; of a volume, of its first focal plane.
        stack: of a volume by focal plane, then by channel; else empty.
        pages: the chosen level, for the reader.
        own: channels that lie in the file that was named, and not in another one of its set.
        elsewhere: channels that lie in a file that is not there, and its name.
        times: how many time points there are; the planes are of one of them.
    """

    label: str
    shape: tuple[int, ...]
    dtype: np.dtype
    stored_dtype: np.dtype
    channels: tuple[str, ...]
    unexplained: bool
    colour: bool
    mpp: tuple[float, ...] | None
    mpp_source: str
    level: int
    level_shapes: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]
    planes: tuple[Plane, ...]
    pages: Level
    own: tuple[int, ...]
    elsewhere: Mapping[int, str]
    stack: tuple[tuple[Plane, ...], ...] = ()
    times: int = 1

    @property
    def sections(self) -> Iterator[TiffImage]:
        """Each focal plane of a volume as an image; of an image itself."""
        if not self.stack:
            yield self
        for z, planes in enumerate(self.stack):
            label = f"{self.label}, focal plane {z}"
            yield replace(self, label=label, shape=self.shape[1:], planes=planes, stack=())

    @property
    def available(self) -> tuple[int, ...]:
        """Channels that can be read."""
        return tuple(c for c in range(len(self.channels)) if c not in self.elsewhere)


@contextlib.contextmanager
def open_image(
    file: IO[bytes],
    name: str,
    *,
    mpp: float = 0.0,
    target_mpp: float = 0.0,
    z_step: float = 0.0,
    z: FocalPlane = -1,
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
        z_step: microns between focal planes; overrides what the file says; 0: the file's.
        z: which focal plane, 0-based; -1: the only one; `"all"`: all of them, a volume.
        t: which time point, 0-based; -1: the only one.
        series: which image of a file with several of one size; -1: the only one, or the largest.

    Yields:
        The image; its pages can be read while the file is open.

    Raises:
        BadInput: the file is no TIFF, damaged or cut off, or which image, Z or T is meant is not
            said.
    """
    label = f"image '{name}'"
    remarks: list[str] = []
    with contextlib.ExitStack() as stack:
        opened, all_series = _find_series(file, name, label, stack, remarks)
        chosen = _choose_series(all_series, series, label, remarks)
        try:
            levels = chosen.find_levels()
        except UnlikeOme as unlike:
            if opened is None:
                raise BadInput(label, expected="OME-XML of its pages", found=f"{unlike}") from None
            remarks.append(f"its OME-XML is not used: it describes {unlike}")
            chosen = _choose_series(find_series(opened, remarks), series, label, remarks)
            levels = chosen.find_levels()
        with damage_is_bad_input(label, WHOLE):
            size = pixel_size(opened, chosen, levels[0])
        if mpp:
            size = PixelSize((mpp, mpp), "parameter", z_step=size.z_step)
        if z_step:
            size = replace(size, z_step=z_step)
        if size.remark:
            remarks.append(size.remark)
        with damage_is_bad_input(label, WHOLE):
            level = _choose_level(levels, size, target_mpp, remarks)
            image = _layout(opened, chosen, levels, level, size, z, t, label, remarks)
        yield image


def _find_series(
    file: IO[bytes], name: str, label: str, stack: contextlib.ExitStack, remarks: list[str]
) -> tuple[OpenTiff | None, list[Series]]:
    """Open a TIFF, or the OME-XML of a set of them, and find the images in it."""
    xml = companion_xml(file)
    opened = None if xml else OpenTiff(file, name, label)
    if opened is not None:
        if opened.first.unreadable:
            remarks.append(f"cannot be read: {', '.join(opened.first.unreadable)}")
        if not is_ome_xml(opened.description):
            return opened, find_series(opened, remarks)
        xml = opened.description
    try:
        document = parse_ome_xml(xml, label)
        if document.elsewhere:
            document = parse_ome_xml(read_companion(name, document.elsewhere, label), label)
    except BadInput as bad:
        if opened is None:
            raise
        remarks.append(f"its OME-XML is not used: expected {bad.expected}, found {bad.found}")
        return opened, find_series(opened, remarks)
    all_series = ome_series(FileSet(document, opened, name, stack), document)
    if not all_series:
        raise BadInput(label, expected="OME-XML of its pages", found="no image in it")
    return opened, all_series


def _choose_series(all_series: list[Series], wanted: int, label: str, remarks: list[str]) -> Series:
    """Choose the one asked for; else the only one, or the largest if no other is of its size."""
    if wanted >= 0:
        if wanted >= len(all_series):
            raise BadInput(
                label, expected=f"an image number {wanted}", found=f"{len(all_series)} images"
            )
        return all_series[wanted]
    areas = [math.prod(s.page_size) for s in all_series]
    most = max(areas)
    largest = [s for s, area in zip(all_series, areas, strict=True) if area == most]
    if len(largest) > 1:
        height, width = largest[0].page_size
        raise BadInput(
            label,
            expected=f"one image, or series=0…{len(all_series) - 1} to say which",
            found=f"{len(largest)} images of {height} × {width}",
        )
    if len(all_series) > 1:
        # Thumbnails, labels and macro photographs of slides.
        remarks.append(f"{len(all_series) - 1} smaller images in the file were left out")
    return largest[0]


def _choose_level(
    levels: Sequence[Level], size: PixelSize, target_mpp: float, remarks: list[str]
) -> int:
    if not target_mpp or len(levels) == 1:
        return 0
    if size.mpp is None:
        remarks.append("the pyramid is read at full resolution, for its pixel size is unknown")
        return 0
    full, (y, x) = size_of(levels[0]), size.mpp
    shapes = [size_of(level) for level in levels]
    return coarsest_level([(y * full[0] / s[0], x * full[1] / s[1]) for s in shapes], target_mpp)


def coarsest_level(sizes: Sequence[tuple[float, float]], target_mpp: float) -> int:
    """Return the last level whose pixels (y, x), in microns, are no larger than the target."""
    fine = [i for i, mpp in enumerate(sizes) if max(mpp) <= target_mpp * _LEVEL_TOLERANCE]
    return max(fine, default=0)


def _layout(
    opened: OpenTiff | None,
    series: Series,
    levels: Sequence[Level],
    number: int,
    size: PixelSize,
    z: FocalPlane,
    t: int,
    label: str,
    remarks: list[str],
) -> TiffImage:
    level = levels[number]
    page = level.keyframe
    shape = size_of(level)
    if not math.prod(shape) or page.dtype is None:
        raise BadInput(label, expected="pixels", found=f"an image of {shape[0]} × {shape[1]}")
    stored = np.dtype(page.dtype).newbyteorder("=")
    if stored.name not in PIXEL_DTYPES:
        raise BadInput(label, expected="pixels that are integers or floats", found=f"{stored}")
    outer, samples = _outer_axes(level, label)
    if z == "all" and _is_bare_imagej(opened, series):
        outer = unnamed_planes(outer, remarks)
    roles = axis_roles(outer, z, t, label)
    sizes = {
        role: math.prod(n for r, n in zip(roles, outer.values(), strict=True) if r == role)
        for role in "CSZT"
    }
    depths = pick_planes(sizes["Z"], z, label)
    time = pick_plane("T", sizes["T"], t, label)
    n_samples = sizes["S"] * samples
    colour = n_samples > 1 and page.photometric in _COLOUR
    unexplained = any(k[0] not in "CSZT" and n > 1 for k, n in outer.items()) and sizes["C"] > 1
    check_channels(shape, sizes["C"], n_samples, label)
    lengths, stacked = list(outer.values()), page.shaped[0] * page.shaped[1]

    def plane_of(c: int, s: int, depth: int) -> Plane:
        at = {"C": c, "S": s // samples, "Z": depth, "T": time}
        index = [at[r] if n > 1 else 0 for r, n in zip(roles, lengths, strict=True)]
        plane = int(np.ravel_multi_index(index, lengths)) if lengths else 0
        return Plane(plane, plane // stacked, plane % stacked, s % samples)

    stack = tuple(
        tuple(plane_of(c, s, depth) for c in range(sizes["C"]) for s in range(n_samples))
        for depth in depths
    )
    planes = stack[0]
    pages = [planes[c * n_samples].page for c in range(sizes["C"])]
    given = channel_names(opened, series, levels[0], {**sizes, "S": n_samples}, pages, remarks)
    names = shown_names(given, sizes["C"], n_samples, colour)
    remark_on_shown(page, remarks)
    mpp = size.of_level(series.page_size, shape, remarks, volume=z == "all")
    own, elsewhere = _whereabouts(level, stack, names, remarks)
    return TiffImage(
        label=label,
        shape=(len(stack), *shape) if z == "all" else shape,
        dtype=np.dtype(PIXEL_DTYPES[stored.name]),
        stored_dtype=stored,
        channels=names,
        unexplained=unexplained and not given,
        colour=colour,
        mpp=mpp,
        mpp_source=size.source if mpp else "unknown",
        level=number,
        level_shapes=tuple(size_of(each) for each in levels),
        remarks=tuple(remarks),
        planes=planes,
        pages=level,
        own=own,
        elsewhere=elsewhere,
        stack=stack if z == "all" else (),
        times=sizes["T"],
    )


def _whereabouts(
    level: Level, stack: Sequence[Sequence[Plane]], names: Sequence[str], remarks: list[str]
) -> tuple[tuple[int, ...], dict[int, str]]:
    """Say which channels of a set of files are in the one that was named, and which in none.

    A channel of which one of the focal planes lies in a file that is not there, is not there.
    """
    by_channel = list(zip(*stack, strict=True))
    own = tuple(
        c for c, planes in enumerate(by_channel) if all(level.is_own(p.page) for p in planes)
    )
    elsewhere = {
        c: file
        for c, planes in enumerate(by_channel)
        if (file := next(filter(None, (level.absent(p.page) for p in planes)), ""))
    }
    if elsewhere:
        lost = ", ".join([names[c] for c in elsewhere][:12])
        files = ", ".join(list(dict.fromkeys(elsewhere.values()))[:3])
        remarks.append(f"channels {lost} are said to be in files that are not there: {files}")
    return own, elsewhere


def _is_bare_imagej(opened: OpenTiff | None, series: Series) -> bool:
    return series.kind == "imagej" and not imagej_labels(opened)


def _outer_axes(level: Level, label: str) -> tuple[dict[str, int], int]:
    """See `split_axes`; the planes that are declared can be there, or the file is refused."""
    page = level.keyframe
    outer, samples = split_axes(level.axes, level.lengths, page, label)
    declared = math.prod(outer.values())
    file = page.parent.filehandle
    if level.start is not None:
        there = (file.size - level.start) // max(1, page.nbytes) * page.shaped[0] * page.shaped[1]
    else:
        there = level.most_pages * page.shaped[0] * page.shaped[1]
    if declared > there:
        raise BadInput(
            label,
            expected=f"room for the {declared} planes that it declares",
            found=f"a file of {file.size} bytes: {there} planes at most; it may be cut off",
        )
    return outer, samples
