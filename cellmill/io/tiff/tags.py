"""Which of a TIFF's tags matter to the pixels, and what tags are called."""

from __future__ import annotations

import tifffile

#: Tags that say what the pixels are, or which page holds what; if one of these cannot be read the
#: file is refused. Others (when, by whom, how large) are remarked on.
_MATTERING = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 284, 292, 293, 317, 322, 323}
    | {324, 325, 330, 338, 339, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 32997, 32998}
    # GDAL_NODATA, MetaMorph, MD Gel, FluoView, Zeiss, Olympus, NDPI, EER.
    | {42113, *range(33628, 33632), *range(33445, 33453), 34361, 34412, 33560, 65426, 65432, 65441}
    | {65001, 65007, 65008, 65009}
)
#: A description may stand twice, one for each program that reads it.
_DESCRIPTION = 270


def matters(code: int) -> bool:
    """Whether a tag says what the pixels are."""
    return code in _MATTERING


def is_contradicted_by_another(code: int) -> bool:
    """Whether a second tag of a kind leaves it open what the pixels are."""
    return matters(code) and code != _DESCRIPTION


def tag_name(code: int) -> str:
    """Return what a tag is called: `BitsPerSample`, or its number."""
    name = tifffile.TIFF.TAGS.get(code, "")
    return f"tag {name}" if name and name != f"{code}" else f"tag {code}"
