"""What an object may be: its kind, which tables and settings call its compartment.

Any identifier is a kind: what a model finds is what its card names. Two are well known, have names
of their own in sentences, and come first wherever kinds are listed. What users type, as
`whole-cell` or `nuclei`, is translated here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cellmill.arrays.entries import ArrayInfo
from cellmill.arrays.windows import Plane, Windowed
from cellmill.errors import BadInput

#: A kind of object, as arrays, tables and cards spell it: an identifier.
Compartment = str

WHOLE_CELL: Compartment = "whole_cell"
NUCLEAR: Compartment = "nuclear"
#: In the order of a truth's two planes and of a table's rows.
WELL_KNOWN: tuple[Compartment, ...] = (WHOLE_CELL, NUCLEAR)

#: What users type, in one spelling; `both` and `all` are several kinds.
_TYPED = {
    "cell": WHOLE_CELL,
    "cells": WHOLE_CELL,
    "whole_cells": WHOLE_CELL,
    "nucleus": NUCLEAR,
    "nuclei": NUCLEAR,
}
_BOTH, _ALL = "both", "all"
#: Names of arrays and settings that are no kinds.
_RESERVED = ("image", "labels", _BOTH, _ALL)
_NAMES = {WHOLE_CELL: ("cell", "cells"), NUCLEAR: ("nucleus", "nuclei")}


def is_kind(name: str) -> bool:
    """Whether a name can be that of a kind of object."""
    return name.isidentifier() and name not in _RESERVED


def in_order(kinds: Iterable[Compartment]) -> tuple[Compartment, ...]:
    """Kinds without repeats: the well known first, the others as they come.

    Example:
        >>> in_order(["mitochondria", "nuclear", "whole_cell", "nuclear"])
        ('whole_cell', 'nuclear', 'mitochondria')
    """
    names = dict.fromkeys(kinds)
    return (*(k for k in WELL_KNOWN if k in names), *(k for k in names if k not in WELL_KNOWN))


def typed_kinds(
    text: str, offered: Iterable[Compartment] | None = WELL_KNOWN, what: str = "compartment"
) -> tuple[Compartment, ...]:
    """The kinds that a user names, well known ones first.

    Args:
        text: a kind, several with commas between, `both` (whole cells and nuclei) or `all`;
            `whole-cell`, `cells`, `nucleus` and `nuclei` are understood.
        offered: the kinds that there are to choose from; none: any kind may be named.
        what: what to name in the error.

    Raises:
        BadInput: a name is none of those that are offered, or can be that of no kind.

    Example:
        >>> typed_kinds("nuclei, whole-cell")
        ('whole_cell', 'nuclear')
        >>> typed_kinds("all", ["nuclear", "mitochondria"])
        ('nuclear', 'mitochondria')
    """
    known = () if offered is None else tuple(offered)
    found: list[Compartment] = []
    for part in text.split(","):
        name = part.strip().replace("-", "_")
        if name == _BOTH:
            found += WELL_KNOWN
        elif name == _ALL:
            found += known
        else:
            found.append(name if name in known else _TYPED.get(name, name))
    right = all(map(is_kind, found)) if offered is None else set(found) <= set(known)
    if not found or not right:
        expected = " or ".join(typed(kind) for kind in in_order(known or WELL_KNOWN))
        other = ", or the name of another kind of object" if offered is None else ""
        raise BadInput(what, expected=expected + other, found=f"'{text}'")
    return in_order(found)


def typed(kind: Compartment) -> str:
    """A kind as users type it: `whole-cell`."""
    return kind.replace("_", "-")


def singular(kind: Compartment) -> str:
    """What one object of a kind is called in a sentence.

    Example:
        >>> singular("nuclear"), singular("lipid_droplet")
        ('nucleus', 'lipid droplet')
    """
    return _NAMES.get(kind, (kind.replace("_", " "), ""))[0]


def plural(kind: Compartment) -> str:
    """What objects of a kind are called in a sentence.

    Example:
        >>> plural("whole_cell"), plural("mitochondria")
        ('cells', 'mitochondria')
    """
    return _NAMES.get(kind, ("", kind.replace("_", " ")))[1]


def kinds_in(arrays: Mapping[str, ArrayInfo], what: str) -> tuple[Compartment, ...]:
    """The kinds of object of which an entry has label images, in their order.

    Args:
        arrays: of the entry.
        what: what to name in the error, as "labels of image 'a'".

    Raises:
        BadInput: there is none.
    """
    found = in_order(
        name
        for name, array in arrays.items()
        if is_kind(name)
        and "C" not in array.axes
        and array.dtype.startswith(("int", "uint", "bool"))
    )
    if not found:
        raise BadInput(
            what,
            expected=f"label images by kind of object, as {' or '.join(WELL_KNOWN)}",
            found=", ".join(arrays) or "no arrays",
        )
    return found


def planes_of(
    labels: Windowed, kinds: Sequence[Compartment], what: str, volume: bool = False
) -> dict[Compartment, Windowed]:
    """Give each kind its plane of true labels.

    Args:
        labels: `(Y, X)`, which goes for each of them, or `(Y, X, 2)`: whole cells, nuclei; of a
            volume with Z before.
        kinds: the wanted ones.
        what: what to name in the error, as "truth of image 'a'".
        volume: whether it is one of a volume.

    Raises:
        BadInput: there are neither one nor two planes, or there are two and another kind is wanted.
    """
    if len(labels.shape) != (4 if volume else 3):
        return dict.fromkeys(kinds, labels)
    if labels.shape[-1] != len(WELL_KNOWN):
        raise BadInput(
            what,
            expected="one plane, or two: whole cells and nuclei",
            found=f"{labels.shape[-1]}",
        )
    others = [kind for kind in kinds if kind not in WELL_KNOWN]
    if others:
        raise BadInput(
            what, expected=f"one plane, of {plural(others[0])}", found="two: whole cells and nuclei"
        )
    return {each: Plane(labels, WELL_KNOWN.index(each)) for each in kinds}
