"""Which images a TIFF holds, and their resolutions.

Who wrote a file says what its pages are, and tifffile knows the rules of many programs. Pages of
which nothing is said are looked through here, in a time that grows with their number and not with
its square. OME-TIFF is read in `ome_tiff`, for it may lie in several files.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellmill.errors import BadInput
from cellmill.io.tiff.damage import WHOLE, damage_is_bad_input, warnings_are_bad_input
from cellmill.io.tiff.levels import Level, PagesLevel, Series, TifffileLevel, is_half, size_of
from cellmill.io.tiff.opened import OpenTiff
from cellmill.io.tiff.structure import Structure

#: In the order in which tifffile asks; the first that fits is the file's.
_KINDS = (
    *("shaped", "lsm", "imagej", "ndtiff", "fluoview", "stk", "sis", "svs", "scn", "qpi", "ndpi"),
    *("bif", "avs", "eer", "philips", "scanimage", "nih", "mdgel"),
)
#: Pages that are not alike, and for each of which it has to be found out what it belongs to.
_MOST_UNLIKE = 20_000
#: How many times smaller the next level of a pyramid is, of which nothing is said.
_FACTORS = (2, 3, 4)
_SUBIFDS = 330

_Place = tuple[int, int]


def find_series(opened: OpenTiff, remarks: list[str]) -> list[Series]:
    """Return the images of a file that is no OME-TIFF.

    Args:
        opened: the file.
        remarks: to which is added what was not understood.

    Raises:
        BadInput: the file is damaged, or declares more than it can hold.
    """
    with damage_is_bad_input(opened.label, WHOLE):
        kind = next((k for k in _KINDS if getattr(opened.tif, f"is_{k}", False)), "")
    if kind:
        found = _by_tifffile(opened, kind)
        if found:
            return found
        remarks.append(f"its pages do not fit what its writer ({kind}) says of them")
    return plain_series(opened)


def _by_tifffile(opened: OpenTiff, kind: str) -> list[Series]:
    label = opened.label
    with damage_is_bad_input(label, WHOLE), warnings_are_bad_input(label):
        # The same steps as tifffile's own, without its search of pages of which nothing is said.
        tif = opened.tif
        useframes, keyframe = tif.pages.useframes, tif.pages.first.index
        found = getattr(tif, f"_series_{kind}")()
        tif.pages.useframes = useframes
        tif.pages.set_keyframe(keyframe)
    return [
        _series(kind, each.name, [TifffileLevel(opened, level) for level in each.levels])
        for each in found or ()
    ]


def _series(kind: str, name: str, levels: Sequence[Level]) -> Series:
    return Series(kind, name, size_of(levels[0]), lambda: tuple(levels))


def plain_series(opened: OpenTiff) -> list[Series]:
    """Return the images of a file that does not say what its pages are.

    Pages that are stored alike are one image; one whose pages are as many and some times smaller is
    a level of it.

    Raises:
        BadInput: a page is damaged, or too many are unlike each other.
    """
    groups: dict[Structure, list[_Place]] = {}
    below: set[Structure] = set()
    known: dict[bytes, Structure] = {}
    for index, offset in enumerate(opened.directories.offsets):
        page = f"page {index + 1}"
        directory = opened.directory(index) if _has_subifds(opened, offset, page) else None
        subifds = opened.directories.integers(directory, _SUBIFDS) if directory else ()
        for place in (offset, *(each for each in subifds if each >= 8)):
            with damage_is_bad_input(opened.label, WHOLE):
                key = opened.directories.key(place, page)
                if key not in known:
                    known[key] = opened.structure_at(place, page)
            structure = known[key]
            if place != offset and structure not in groups:
                below.add(structure)
            groups.setdefault(structure, []).append((place, index))
            if len(groups) > _MOST_UNLIKE:
                raise BadInput(
                    opened.label,
                    expected=f"at most {_MOST_UNLIKE} pages that are unlike each other",
                    found="more",
                )
    return _pyramids(opened, groups, below)


def _has_subifds(opened: OpenTiff, offset: int, page: str) -> bool:
    with damage_is_bad_input(opened.label, WHOLE):
        return opened.directories.has(offset, page, _SUBIFDS)


def _pyramids(
    opened: OpenTiff, groups: dict[Structure, list[_Place]], below: set[Structure]
) -> list[Series]:
    """Put groups of pages together that are levels of one image."""
    left = list(groups)
    found = []
    while left:
        first = left.pop(0)
        levels: list[Level] = [_level(opened, groups[first])]
        factor = 0
        # What lies below another page is no image of its own that has levels.
        for other in list(left) if first not in below else ():
            if not _could_be_below(first, other, len(groups[first]), len(groups[other])):
                continue
            size, last = (other.length, other.width), size_of(levels[-1])
            fitting = [f for f in ([factor] if factor else _FACTORS) if is_half(last, size, f)]
            if fitting:
                factor = fitting[0]
                levels.append(_level(opened, groups[other]))
                left.remove(other)
        found.append(_series("", "", levels))
    return found


def _level(opened: OpenTiff, places: Sequence[_Place]) -> PagesLevel:
    places = list(dict.fromkeys(places))
    return PagesLevel(opened, places, "I", (len(places),))


def _could_be_below(first: Structure, other: Structure, pages: int, others: int) -> bool:
    return (
        pages == others
        and (first.bits, first.formats, first.samples) == (other.bits, other.formats, other.samples)
        and (first.planar, first.depth) == (other.planar, other.depth)
    )
