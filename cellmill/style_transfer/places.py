"""Several volumes in one text, as a stage and make take them: their places, weights and regions.

Places stand with spaces between, quoted as a shell wants it: `gs://bucket/a 'my volumes/b'@3`. What
follows the last `@`, if it is a number, is a weight. Before a place may stand the form of what is
stored there: `precomputed://gs://bucket/a`. A text that is itself the path of something that is
there is one place, whatever it holds. Lists of truths, masks and boxes go with a list of volumes in
its order; `-` stands for none.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cellmill.errors import BadInput
from cellmill.io.uris import local_path

NONE = "-"
FORMS = ("precomputed", "zarr3", "zarr", "n5")
"""What may stand before a place, with `://`: as what it is stored."""

_WEIGHTED = re.compile(r"(.+)@([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)
Corners = tuple[int, int, int, int, int, int]
"""`z0, y0, x0, z1, y1, x1` of a box, voxels; half-open."""


@dataclass(frozen=True)
class NamedVolume:
    """A volume as it was named, and what goes with it.

    Args:
        place: path or URI.
        weight: how often it is drawn, against the others' weights.
        truth: place of what is to be found in it; empty if that is not known.
        mask: place of a mask; empty for none.
        boxes: within which it is read; none: anywhere.
    """

    place: str
    weight: float = 1.0
    truth: str = ""
    mask: str = ""
    boxes: tuple[Corners, ...] = ()


def volumes_named(
    name: str, places: str, truths: str = "", masks: str = "", boxes: str = ""
) -> tuple[NamedVolume, ...]:
    """Read lists of volumes, of their truths, masks and boxes; nothing is opened.

    Args:
        name: what messages call the list of places; the others are `<name>_truth`, `<name>_masks`
            and `<name>_boxes`, in capitals if it is.
        places: each perhaps with a weight.
        truths: as many places, or nothing.
        masks: likewise.
        boxes: as many words, or nothing: `z0,y0,x0,z1,y1,x1`, several with `;` between.

    Raises:
        BadInput: a quote is left open, lists differ in length, or a weight or a box is none.
    """
    truth, mask, box = (
        f"{name}_{of.upper() if name.isupper() else of}" for of in ("truth", "masks", "boxes")
    )
    words = [_weighted(word, name) for word in _words(places, name)]
    if not words:
        raise BadInput(name, expected="a path or URI of a volume", found="none")
    count = len(words)
    beside = zip(
        words,
        _beside(truths, truth, count),
        _beside(masks, mask, count),
        _beside(boxes, box, count),
        strict=True,
    )
    return tuple(
        NamedVolume(place, weight, its_truth, its_mask, _boxes(its_boxes, box))
        for (place, weight), its_truth, its_mask, its_boxes in beside
    )


def form_of(place: str) -> tuple[str, str]:
    """The form that stands before a place, or nothing, and the place itself.

    Example:
        >>> form_of("precomputed://gs://bucket/a")
        ('precomputed', 'gs://bucket/a')
        >>> form_of("gs://bucket/a")
        ('', 'gs://bucket/a')
    """
    form, separator, rest = place.partition("://")
    return (form, rest) if separator and form in FORMS else ("", place)


def moved(place: str, change: Callable[[str], str]) -> str:
    """A place that is called something else; a form before it stays there."""
    form, rest = form_of(place)
    return f"{form}://{change(rest)}" if form else change(place)


def places_in(text: str, name: str = "places") -> list[str]:
    """The places of a list, without weights and forms.

    Raises:
        BadInput: a quote is left open, or a weight is none.
    """
    words = [word for word in _words(text, name) if word != NONE]
    return [form_of(_weighted(word, name)[0])[1] for word in words]


def each_place(text: str, change: Callable[[str], str], name: str = "places") -> str:
    """A list with each of its places changed, its weights and forms kept.

    Args:
        text: the list.
        change: gives what a place is called instead.
        name: what messages call the list.

    Raises:
        BadInput: a quote is left open, or a weight is none.
    """
    changed = []
    for word in _words(text, name):
        if word == NONE:
            changed.append(word)
            continue
        place, weight = _weighted(word, name)
        place = moved(place, change)
        plain = weight == 1 and not _WEIGHTED.fullmatch(place)
        changed.append(place if plain else f"{place}@{weight:.12g}")
    return shlex.join(changed)


def _words(text: str, name: str) -> list[str]:
    if _is_there(text):
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        expected = "places with spaces between, quoted in pairs"
        raise BadInput(name, expected=expected, found=str(error)) from None


def _weighted(word: str, name: str) -> tuple[str, float]:
    found = None if _is_there(word) else _WEIGHTED.fullmatch(word)
    if found is None:
        return word, 1.0
    weight = float(found[2])
    if not 0 < weight < math.inf:
        raise BadInput(f"{name}, weight of '{found[1]}'", expected="above 0", found=found[2])
    return found[1], weight


def _is_there(text: str) -> bool:
    path = local_path(form_of(text)[1]) if text else None
    try:
        return path is not None and path.exists()
    except OSError:  # a list that is longer than a name may be
        return False


def _beside(text: str, name: str, count: int) -> Sequence[str]:
    words = ["" if word == NONE else word for word in _words(text, name)]
    if words and len(words) != count:
        expected = f"{count}, one for each volume ('{NONE}' for none)"
        raise BadInput(name, expected=expected, found=f"{len(words)}")
    return words or [""] * count


def _boxes(text: str, name: str) -> tuple[Corners, ...]:
    found = []
    for part in filter(None, text.split(";")):
        try:
            z0, y0, x0, z1, y1, x1 = (int(side) for side in part.split(","))
        except ValueError:
            raise BadInput(name, expected="z0,y0,x0,z1,y1,x1", found=f"'{part}'") from None
        if not (0 <= z0 < z1 and 0 <= y0 < y1 and 0 <= x0 < x1):
            expected = "z0,y0,x0,z1,y1,x1 from 0, each end behind its beginning"
            raise BadInput(name, expected=expected, found=f"'{part}'")
        found.append((z0, y0, x0, z1, y1, x1))
    return tuple(found)
