"""Resolutions of an image in a TIFF: their axes, and the page of each of their planes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.damage import WHOLE, damage_is_bad_input, warnings_are_bad_input
from cellmill.io.tiff.directories import MOST_SUBIFDS
from cellmill.io.tiff.ome_xml import OmeImage
from cellmill.io.tiff.opened import OpenTiff, Page
from cellmill.io.tiff.structure import Structure, check_alike

_UNCORRECTED = frozenset({"shaped", "imagej", "nih", "fluoview", "svs", "qpi"})


class Level(Protocol):
    """One resolution of an image.

    Attributes:
        axes: of its planes and of a page, one letter each: `TZCYXS`.
        lengths: of the axes.
        keyframe: a page of it; all others are stored as it is.
        start: where the file holds all planes in a row, one after the other, else None.
        most_pages: how many pages it can have, given what the file holds.
    """

    axes: str
    lengths: tuple[int, ...]
    keyframe: tifffile.TiffPage
    start: int | None
    most_pages: int

    def page(self, number: int) -> Page:
        """Return a page, counted as the planes are.

        Raises:
            BadInput: there is no such page, or it is stored in another way.
        """
        ...

    def absent(self, number: int) -> str:
        """Return the name of the file that a plane lies in and that is not there, else nothing."""
        ...

    def is_own(self, number: int) -> bool:
        """Whether a plane lies in the file that was named."""
        ...


class _OneFile:
    """A level all of whose planes lie in the file that was named."""

    def absent(self, number: int) -> str:
        """No plane lies elsewhere."""
        return ""

    def is_own(self, number: int) -> bool:
        """Every plane does."""
        return True


@dataclass(frozen=True)
class Series:
    """An image of a file.

    Attributes:
        kind: which program's rules were followed: `ome`, `imagej`, `shaped`, …
        name: of the image, where it has one.
        page_size: (Y, X) at full resolution.
        find_levels: gives its resolutions, full resolution first.
        ome: what OME-XML says of it.
    """

    kind: str
    name: str
    page_size: tuple[int, int]
    find_levels: Callable[[], tuple[Level, ...]]
    ome: OmeImage | None = None


def size_of(level: Level) -> tuple[int, int]:
    """Return the (Y, X) of a level."""
    return level.keyframe.imagelength, level.keyframe.imagewidth


class PagesLevel(_OneFile):
    """Pages that lie anywhere in a file and are stored alike.

    Args:
        opened: the file.
        places: of each page: where its directory begins, and the index of the main page.
        axes: of the planes; those of a page are added.
        lengths: of these axes.
    """

    start: int | None = None

    def __init__(
        self,
        opened: OpenTiff,
        places: Sequence[tuple[int, int]],
        axes: str,
        lengths: tuple[int, ...],
    ) -> None:
        self._opened, self._places = opened, places
        self.keyframe = opened.page_at(*places[0])
        self.axes, self.lengths = with_page_axes(self.keyframe, axes, lengths)
        self.most_pages = len(places)
        self._structure = structure_of(opened, self.keyframe)

    def page(self, number: int) -> Page:
        """Return a page; see `Level`."""
        place = self._places[number]
        page = self._opened.page_at(*place)
        found = self._opened.structure_at(place[0], f"page {place[1] + 1}")
        check_alike(self._structure, found, self._opened.label, f"page {place[1] + 1}")
        return page


class TifffileLevel(_OneFile):
    """A level that tifffile found, whose pages are checked when they are asked for."""

    def __init__(self, opened: OpenTiff, series: tifffile.TiffPageSeries) -> None:
        self._opened, self._series = opened, series
        self.axes, self.lengths = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
        self.keyframe = series.keyframe
        self._structure = structure_of(opened, self.keyframe)
        self.most_pages = len(opened) * (1 + MOST_SUBIFDS)
        self.start: int | None = None
        pages = math.prod(self.lengths) // max(1, math.prod(self.keyframe.shaped))
        if self.keyframe.index + pages > len(opened):
            # Planes in a row, with a directory for the first of them.
            with damage_is_bad_input(opened.label, WHOLE):
                self.start = series.dataoffset

    def page(self, number: int) -> Page:
        """Return a page; see `Level`."""
        label = self._opened.label
        with damage_is_bad_input(label, WHOLE), warnings_are_bad_input(label):
            found = self._series[number]
        if found is None:
            raise BadInput(label, expected="a page for every channel", found="a missing page")
        # Pages that only an index knows of have no tags of their own.
        if not found.offset or found is self.keyframe:
            return found
        page = f"page {found.index + 1}"
        check_alike(self._structure, self._opened.structure_at(found.offset, page), label, page)
        # What tifffile corrects (Zeiss, Hamamatsu, Philips) is taken as it is; else a page of its
        # own has all its tags, where a frame has some of the first page's.
        if self._series.kind in _UNCORRECTED:
            return self._opened.page_at(found.offset, found.index)
        return found


def structure_of(opened: OpenTiff, page: tifffile.TiffPage) -> Structure:
    """Read how a page is stored, by its own tags."""
    return opened.structure_at(page.offset, f"page {page.index + 1}")


def with_page_axes(
    page: tifffile.TiffPage, axes: str, lengths: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return the axes of planes with those of a page: separate samples, depth, Y, X, samples."""
    separate, depth, height, width, samples = page.shaped
    inner = [("S", separate), ("Z", depth), ("Y", height), ("X", width), ("S", samples)]
    kept = [(a, n) for i, (a, n) in enumerate(inner) if n > 1 or a in "YX" or i == 4]
    return axes + "".join(a for a, _ in kept), (*lengths, *(n for _, n in kept))


def is_half(full: tuple[int, int], other: tuple[int, int], factor: int) -> bool:
    """Whether an image is another one, made smaller by a factor and rounded either way."""
    return all(
        math.floor(a / factor) <= b <= math.ceil(a / factor)
        for a, b in zip(full, other, strict=True)
    )
