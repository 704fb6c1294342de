"""Words in names of files and folders that say what a file is: an image, or the truth of one.

`x_img.tif` and `x_cp_masks.tif`, `images/x.tif` and `labels/x.png`, `img2d.tif` and `mask2d.tif`,
`01/t000.tif` and `01_GT/SEG/man_seg000.tif`: without such words, which people put first or last,
the names of an image and of its truth are alike.
"""

from __future__ import annotations

import re

_TRUTH = (
    "ground[ ._-]?truths?|truths?|gts?|masks?|labels?|labelled|labeled|lbls?|segmentations?|segs?"
    "|segmented|annotations?|annotated|instances?|man[ ._-]seg|cp[ ._-]masks?|binary"
    "|simple[ ._-]segmentations?|object[ ._-]identities"
)
#: What a truth shows; it says nothing of a file that is not known for a truth.
_OBJECTS = "nuclei|nucleus|nuclear|nuc|whole[ ._-]?cells?|cells?|objects?"
_IMAGES = "images?|imgs?|im|raw|originals?|orig|inputs?"
_BETWEEN = r"[\s._-]"


def _first_and_last(words: str, more_first: str = "") -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds a word at the begin and at the end of a name.

    There it stands alone, or beside a separator, a digit or a change to capitals.
    """
    first = rf"{words}|{more_first}" if more_first else words
    return (
        re.compile(rf"^(?i:{first})(?:{_BETWEEN}+|(?=\d|[A-Z])|$)"),
        re.compile(rf"(?:(?:^|{_BETWEEN}+|(?<=\d))(?i:{words})|(?<=[a-z])(?=[A-Z])(?i:{words}))$"),
    )


_MARKS = _first_and_last(_TRUTH)
_IN_TRUTH = _first_and_last(f"{_TRUTH}|{_OBJECTS}")
# Of the Cell Tracking Challenge: t000.tif.
_IN_IMAGES = _first_and_last(_IMAGES, r"t(?=\d{2})")
_IN_BOTH = _first_and_last(f"{_TRUTH}|{_IMAGES}")
_IN_BOTH_AND_OBJECTS = _first_and_last(f"{_TRUTH}|{_OBJECTS}|{_IMAGES}", r"t(?=\d{2})")


def is_marked(name: str) -> bool:
    """Whether a name, without its suffix, says that it is of a truth.

    Example:
        >>> [is_marked(name) for name in ("x_masks", "mask2d", "GT", "x", "gtx", "x_nuclei")]
        [True, True, True, False, False, False]
    """
    return any(pattern.search(name) for pattern in _MARKS)


def without_marks(name: str) -> str:
    """Return a name without the words that mark a truth.

    Example:
        >>> [without_marks(name) for name in ("x_img_cp_masks", "man_seg007", "labels")]
        ['x_img', '007', '']
    """
    return _without(name, _MARKS)


def of_truth(name: str) -> str:
    """Return a truth's name without the words that mark it, and that say what it shows.

    Example:
        >>> [of_truth(name) for name in ("x_nuclei_masks", "Labels-x", "xLabels")]
        ['x', 'x', 'x']
    """
    return _without(name, _IN_TRUTH)


def of_image(name: str) -> str:
    """Return an image's name without the words that say it is one.

    Example:
        >>> [of_image(name) for name in ("x_img", "img2d", "t000", "image", "imx")]
        ['x', '2d', '000', '', 'imx']
    """
    return _without(name, _IN_IMAGES)


def of_both(name: str) -> str:
    """Return the name of a folder, or of a truth, without the words of images and of truths.

    Example:
        >>> [of_both(name) for name in ("train_masks", "imagesTr", "01_GT", "tissue", "SEG")]
        ['train', 'Tr', '01', 'tissue', '']
    """
    return _without(name, _IN_BOTH)


def of_both_and_objects(name: str) -> str:
    """Return a name without those words and without those that say what a truth shows.

    Example:
        >>> [of_both_and_objects(name) for name in ("nucleus_masks", "x_img_cell_masks")]
        ['', 'x']
    """
    return _without(name, _IN_BOTH_AND_OBJECTS)


def _without(name: str, patterns: tuple[re.Pattern[str], re.Pattern[str]]) -> str:
    """Cut words off both ends until none is left."""
    while True:
        shorter = name
        for pattern in patterns:
            shorter = pattern.sub("", shorter, count=1)
        if shorter == name:
            return name
        name = shorter
