"""OME-TIFF: which page of which file holds a plane.

Source: the OME-TIFF specification (TiffData; sub-resolutions as SubIFDs).
"""

from __future__ import annotations

import bisect
import functools
import math

import tifffile

from cellmill.errors import BadInput
from cellmill.io.tiff.file_set import FileSet
from cellmill.io.tiff.levels import Level, Series, structure_of, with_page_axes
from cellmill.io.tiff.ome_xml import Block, OmeDocument, OmeImage
from cellmill.io.tiff.opened import OpenTiff, Page
from cellmill.io.tiff.structure import check_alike

#: They are listed by name.
_MOST_CHANNELS = 1 << 16
_OVERLAPPING = 8
#: Of an image for which no TiffData is given: all pages, from the first on.
_ALL_PAGES = Block(0, 0, 0, 0, None, "", "")


class UnlikeOme(Exception):
    """OME-XML that describes other pixels than the file's."""


def ome_series(files: FileSet, document: OmeDocument) -> list[Series]:
    """Return the images of which the file that was named has planes; of a set's XML, all.

    Their pages are looked for when one of them is chosen.
    """
    holds = files.is_own if files.own is not None else files.is_there
    return [
        Series(
            kind="ome",
            name=image.name,
            page_size=(image.sizes["Y"], image.sizes["X"]),
            find_levels=functools.partial(_levels, files, image),
            ome=image,
        )
        for image in document.images
        if any(holds(block) for block in image.blocks or (_ALL_PAGES,))
    ]


def _levels(files: FileSet, image: OmeImage) -> tuple[Level, ...]:
    """Find the pages of an image.

    Raises:
        UnlikeOme: they are of another size than the OME-XML says.
        BadInput: there are too few, or they are damaged.
    """
    places = _Places(files, image)
    first = OmeLevel(places, 0)
    found = (first.keyframe.imagelength, first.keyframe.imagewidth)
    said = (image.sizes["Y"], image.sizes["X"])
    if found != said:
        raise UnlikeOme(f"{said[0]} × {said[1]} px, where its pages have {found[0]} × {found[1]}")
    return (first, *(OmeLevel(places, depth + 1) for depth in range(first.reductions)))


class _Places:
    """Where the planes of an image lie.

    A plane's number counts along the axes as the image orders them: C, Z and T in some order.
    """

    def __init__(self, files: FileSet, image: OmeImage) -> None:
        self.files, self.image = files, image
        if image.sizes["C"] > _MOST_CHANNELS:
            raise BadInput(
                files.label,
                expected=f"at most {_MOST_CHANNELS} channels",
                found=f"{image.sizes['C']} in its OME-XML",
            )
        self._blocks = image.blocks or (_ALL_PAGES,)
        opened, ifd = self.first_there()
        samples = structure_of(opened, opened.page(ifd)).samples
        if image.sizes["C"] % samples:
            raise UnlikeOme(f"{image.sizes['C']} channels, where a pixel has {samples} samples")
        # Samples that share a page are one plane.
        self.lengths = {**image.sizes, "C": image.sizes["C"] // samples}
        self._single: dict[int, Block] = {}
        self._longer: list[tuple[int, Block]] = []
        for block in self._blocks:
            start = self._number(block, samples)
            if block.planes == 1:
                self._single.setdefault(start, block)
            else:
                self._longer.append((start, block))
        self._longer.sort(key=lambda each: each[0])
        self._starts = [start for start, _ in self._longer]

    def of(self, number: int) -> tuple[Block, int] | None:
        """Return a plane's block and the index of its page; None where no page is given for it."""
        if number in self._single:
            return self._single[number], self._single[number].ifd
        # Blocks may overlap; a plane is in one of the last that begin before it.
        last = bisect.bisect_right(self._starts, number)
        for start, block in reversed(self._longer[max(0, last - _OVERLAPPING) : last]):
            count = block.planes
            if count is None and self.files.is_there(block):
                count = len(self.files.file(block)) - block.ifd
            if count is None or number - start < count:
                return block, block.ifd + number - start
        return None

    def first_there(self) -> tuple[OpenTiff, int]:
        """Return the file and the index of a page that is there, of this file if it has one."""
        for holds in (self.files.is_own, self.files.is_there):
            block = next((each for each in self._blocks if holds(each)), None)
            if block is not None:
                return self.files.file(block), block.ifd
        return self.files.file(self._blocks[0]), 0

    def _number(self, block: Block, samples: int) -> int:
        number, step = 0, 1
        for axis in self.image.order:
            first = {"C": block.c, "Z": block.z, "T": block.t}[axis]
            if axis == "C" and first >= self.lengths["C"]:
                # Some writers count channels with all their samples.
                first //= samples
            number += first * step
            step *= self.lengths[axis]
        return number


class OmeLevel:
    """A resolution of an image; see `cellmill.io.tiff.levels.Level`.

    Args:
        places: of its planes.
        depth: 0 for the pages themselves, 1 for the first of their SubIFDs, ….
    """

    start: int | None = None

    def __init__(self, places: _Places, depth: int) -> None:
        self._places, self._depth = places, depth
        self.keyframe = self._page(*places.first_there())
        order = places.image.order[::-1]
        lengths = tuple(places.lengths[axis] for axis in order)
        self.axes, self.lengths = with_page_axes(self.keyframe, order, lengths)
        # Those that are there are counted when they are asked for: some may lie in other files.
        self.most_pages = math.prod(lengths)
        self._structure = structure_of(places.first_there()[0], self.keyframe)

    @property
    def reductions(self) -> int:
        """How many SubIFDs its pages have."""
        return len(self.keyframe.subifds or ())

    def absent(self, number: int) -> str:
        """Return the name of the file that a plane lies in and that is not there, else nothing."""
        place = self._places.of(number)
        return "" if place is None or self._places.files.is_there(place[0]) else place[0].file

    def is_own(self, number: int) -> bool:
        """Whether a plane lies in the file that was named."""
        place = self._places.of(number)
        return place is not None and self._places.files.is_own(place[0])

    def page(self, number: int) -> Page:
        """Return the page of a plane."""
        place = self._places.of(number)
        label = self._places.files.label
        if place is None:
            count = self._places.lengths
            total = count["C"] * count["Z"] * count["T"]
            raise BadInput(
                label,
                expected=f"pages for the {total} planes of its OME-XML",
                found=f"none for plane {number + 1}: pages are missing",
            )
        opened, ifd = self._places.files.file(place[0]), place[1]
        if ifd >= len(opened):
            raise BadInput(
                opened.label,
                expected=f"page {ifd + 1}, which its OME-XML names",
                found=f"{len(opened)} pages: some are missing",
            )
        page = self._page(opened, ifd)
        check_alike(self._structure, structure_of(opened, page), label, f"page {ifd + 1}")
        return page

    def _page(self, opened: OpenTiff, ifd: int) -> tifffile.TiffPage:
        page = opened.page(ifd)
        if not self._depth:
            return page
        below = page.subifds or ()
        if len(below) < self._depth:
            raise BadInput(
                opened.label,
                expected=f"{self._depth} smaller sizes of page {ifd + 1}",
                found=f"{len(below)}",
            )
        return opened.page_at(below[self._depth - 1], ifd)
