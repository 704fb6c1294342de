"""The ways in which the paths of an image and of its truth are compared, the strictest first."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from cellmill.io.listing import Listed
from cellmill.io.role_words import of_both, of_both_and_objects, of_image, of_truth, without_marks
from cellmill.io.suffixes import stem_of

#: How folders are compared: as they are, without role words, without words for objects too.
FOLDER_CUTS: tuple[Callable[[str], str], ...] = (lambda part: part, of_both, of_both_and_objects)


@dataclass(frozen=True, eq=False)
class ComparedFile:
    """A file with the names that are compared.

    Attributes:
        listed: the file.
    """

    listed: Listed

    @property
    def uri(self) -> str:
        """Its path or URI."""
        return self.listed.uri

    @property
    def name(self) -> str:
        """Its name."""
        return self.listed.name

    @cached_property
    def stem(self) -> str:
        """Its name without suffix."""
        return stem_of(self.name)

    @cached_property
    def folders(self) -> tuple[tuple[str, ...], ...]:
        """The folders below what was asked for: as they are, without role words, more of them."""
        return _folders(self.listed.folders)

    @cached_property
    def all_folders(self) -> tuple[str, ...]:
        """All folders from the root, without role words."""
        return _folders(self.listed.path)[1]


@dataclass(frozen=True)
class Level:
    """One way of comparing a name of an image with one of a truth; None compares with nothing."""

    of_image: Callable[[ComparedFile], str | None]
    of_truth: Callable[[ComparedFile], str | None]
    rule: str


def _before_suffix(file: ComparedFile) -> str | None:
    """`a.ome` of `a.ome.tif`; of what has no such middle the stem says as much."""
    short = file.name.rsplit(".", 1)[0]
    return short if short not in ("", file.stem) else None


def _stars(file: ComparedFile) -> str | None:
    return "\0".join(file.listed.wild) if file.listed.wild else None


def shortened(words: Callable[[str], str]) -> Callable[[ComparedFile], str | None]:
    """Compare the stem less some words; a stem of nothing else is that of its folder."""

    def name(file: ComparedFile) -> str | None:
        short = words(file.stem)
        if short:
            return short
        folders = file.folders[1]
        return folders[-1] if folders else None

    return name


def _joined(rank: int, words: Callable[[str], str]) -> Callable[[ComparedFile], str | None]:
    """Compare folders and stem put together: `p1_a` of `p1/a.tif`."""

    def name(file: ComparedFile) -> str | None:
        folders = file.folders[rank]
        return "_".join((*folders, words(file.stem))) if folders else None

    return name


_SAME_NAME = "the same file name"
_SAME_STEM = "the same file name but for its suffix"
_MARKED = "the file name without {cuts}"
_JOINED = "folders and file name put together"
LEVELS = (
    Level(lambda f: f.name, lambda f: f.name, _SAME_NAME),
    Level(_before_suffix, _before_suffix, _SAME_STEM),
    Level(lambda f: f.stem, lambda f: f.stem, _SAME_STEM),
    # a.ome.tif and a.ome.tif_masks.png, a.ome_masks.png, a_masks.png.
    *(
        Level(of_image_, shortened(words), _MARKED)
        for words in (without_marks, of_truth)
        for of_image_ in (lambda f: f.name, _before_suffix, lambda f: f.stem)
    ),
    *(
        Level(shortened(of_image), shortened(words), _MARKED)
        for words in (of_both, of_both_and_objects)
    ),
    # p1/a.tif and p1_a_mask.tif, or the other way round.
    *(Level(_joined(rank, of_image), shortened(without_marks), _JOINED) for rank in (0, 1)),
    *(Level(shortened(of_image), _joined(rank, without_marks), _JOINED) for rank in (0, 1)),
    Level(_stars, _stars, "what the wildcards stand for"),
)


def rule_of(level: Level, image: ComparedFile, truth: ComparedFile) -> str:
    """Say in words what of an image's and a truth's path is alike."""
    cuts = [
        f"'{cut}'"
        for file, name in ((image, level.of_image(image)), (truth, level.of_truth(truth)))
        if (cut := _left_out(file.stem, name or ""))
    ]
    words = level.rule.format(cuts=" and ".join(dict.fromkeys(cuts)) or "suffixes")
    return f"their folders and {words}" if truth.listed.folders else words


def _left_out(stem: str, name: str) -> str:
    """What was cut off a stem to get a name; all of it where the name is its folder's."""
    return stem.replace(name, "", 1) if name in stem else "" if stem in name else stem


def _folders(parts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(folded(cut(part)) for part in parts if cut(part)) for cut in FOLDER_CUTS)


def folded(text: str) -> str:
    """A name as it is compared: composed, without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
