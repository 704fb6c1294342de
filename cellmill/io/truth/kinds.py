"""What a truth file is: labels, a mask, colours or planes of labels.

The file's own facts decide first: samples that are red, green and blue are colours; samples or
pages that are not are planes of labels, and names of channels say what they show; alpha is none.
Values decide what facts leave open (`labels`): one plane with a single value beside 0, in several
pieces, is a mask, whatever the value; with more values it is labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cellmill.errors import BadInput

#: `labels`, a number an object; `mask`, each connected piece of what is not 0 an object;
#: `colours`, each connected piece of one colour, or of one value; `planes`, labels of whole cells
#: and of nuclei. Empty: what the file is taken for.
TruthKind = Literal["", "labels", "mask", "colours", "planes"]

KINDS = tuple(kind for kind in get_args(TruthKind) if kind)

_CALLED = {
    "whole_cell": re.compile(r"(whole[\s._-]*)?cells?(bod(y|ies))?", re.IGNORECASE),
    "nuclear": re.compile(r"nuc(lear|leus|lei)?", re.IGNORECASE),
}
#: What the planes of a truth show, in their order.
PLANES = tuple(_CALLED)
_ROLE = re.compile(r"[\s._-]*(masks?|labels?|segmentations?|instances?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What a file says of the pixels of a truth, before any is read.

    Attributes:
        label: how messages call the file.
        count: of planes or primary colours; alpha is not among them.
        dtype: of the pixels.
        names: of the planes; empty where the file gives none.
        colour: whether the planes are red, green and blue of one picture.
        said: what was found, in a few words.
        remarks: what a user should know about it.
    """

    label: str
    count: int
    dtype: np.dtype
    names: tuple[str, ...] = ()
    colour: bool = False
    said: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Which planes of a file are looked at, and as what.

    Attributes:
        form: `one` plane, `colours` (three primaries), or `planes` (whole cells, nuclei).
        planes: their indices among those that `Facts` counts.
        said: what was chosen among planes; empty where nothing was.
    """

    form: Literal["one", "colours", "planes"]
    planes: tuple[int, ...]
    said: str = ""


def layout_of(facts: Facts, kind: TruthKind = "") -> Layout:
    """Decide by a file's facts which of its planes are looked at, and as what.

    Args:
        facts: what the file says.
        kind: what the user says; empty for nothing.

    Raises:
        BadInput: the file cannot be of that kind; or it holds planes of which is not known what
            they show.
    """
    if kind and kind not in KINDS:
        raise BadInput("parameter truth_kind", expected=" or ".join(KINDS), found=f"'{kind}'")
    if facts.dtype.kind not in "iubf":
        raise BadInput(facts.label, expected="whole numbers", found=f"{facts.dtype}")
    if kind == "planes" or (not kind and not facts.colour and facts.count > 1):
        return _planes(facts, forced=kind == "planes")
    if facts.count == 1:
        return Layout("one", (0,))
    if not facts.colour and not (kind == "colours" and facts.count > 2):
        raise BadInput(
            facts.label,
            expected=f"one plane, as truth_kind={kind} asks",
            found=f"{facts.count} planes of labels",
        )
    if facts.dtype.kind == "f":
        raise BadInput(facts.label, expected="colours in integers", found=f"{facts.dtype}")
    return Layout("colours", (0, 1, 2))


def _planes(facts: Facts, forced: bool) -> Layout:
    """Choose the planes of whole cells and of nuclei, by their names or by their order."""
    count = facts.count
    if count < len(PLANES):
        raise BadInput(
            facts.label, expected="two planes, as truth_kind=planes asks", found="one plane"
        )
    meant = [_shown_by(name) for name in facts.names]
    places = [[i for i, each in enumerate(meant) if each == kind] for kind in PLANES]
    if all(len(found) == 1 for found in places):
        chosen = [found[0] for found in places]
        names = [f"'{facts.names[i]}'" for i in chosen]
        rest = [f"'{name}'" for i, name in enumerate(facts.names) if i not in chosen]
        left = f"; not used: {', '.join(rest)}" if rest else ""
        return Layout(
            "planes", tuple(chosen), f"whole cells are {names[0]}, nuclei {names[1]}{left}"
        )
    contradicted = any(found and found != [place] for place, found in enumerate(places))
    if not forced and (count > len(PLANES) or contradicted):
        listed = ", ".join(f"'{name}'" for name in facts.names) or "without names"
        raise BadInput(
            facts.label,
            expected="one or two label images (whole cells, nuclei), channels called cells and "
            "nuclei, or truth_kind=planes to take the first two",
            found=f"{count} planes of labels, {listed}",
        )
    left = f"; {count - 2} more not used" if count > len(PLANES) else ""
    return Layout("planes", (0, 1), f"whole cells are the first, nuclei the second{left}")


def _shown_by(name: str) -> str:
    """Return the kind of object that a channel's name says, or nothing."""
    short = name.strip()
    while (shorter := _ROLE.sub("", short)) != short:
        short = shorter
    return next((kind for kind, called in _CALLED.items() if called.fullmatch(short)), "")


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of channels that a file gives; none where they are but their indices."""
    return () if [*names] == [str(i) for i in range(len(names))] else tuple(names)
