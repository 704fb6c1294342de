"""What an object may be: a whole cell or a nucleus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from cellmill.arrays.windows import Plane, Windowed
from cellmill.errors import BadInput

Compartment = Literal["whole_cell", "nuclear"]
#: In the order of a truth's planes and of a table's rows.
COMPARTMENTS: tuple[Compartment, ...] = get_args(Compartment)


def compartments_of(keys: Iterable[str], what: str) -> tuple[Compartment, ...]:
    """Pick the compartments among names, in their own order.

    Args:
        keys: names, as those of an entry's arrays.
        what: what to name in the error, as "labels of image 'a'".

    Raises:
        BadInput: there is none.

    Example:
        >>> compartments_of(["nuclear", "raw", "whole_cell"], "labels")
        ('whole_cell', 'nuclear')
    """
    names = list(keys)
    found = tuple(name for name in COMPARTMENTS if name in names)
    if not found:
        raise BadInput(
            what,
            expected=f"an array {' or '.join(COMPARTMENTS)}",
            found=", ".join(names) or "no arrays",
        )
    return found


def planes_of(
    labels: Windowed, compartments: Sequence[Compartment], what: str
) -> dict[Compartment, Windowed]:
    """Give each compartment its plane of true labels.

    Args:
        labels: `(Y, X)`, which goes for each of them, or `(Y, X, 2)`: whole cells, nuclei.
        compartments: the wanted ones.
        what: what to name in the error, as "truth of image 'a'".

    Raises:
        BadInput: there are neither one nor two planes.
    """
    if len(labels.shape) != 3:
        return dict.fromkeys(compartments, labels)
    if labels.shape[2] != len(COMPARTMENTS):
        raise BadInput(
            what,
            expected="one plane, or two: whole cells and nuclei",
            found=f"{labels.shape[2]}",
        )
    return {each: Plane(labels, COMPARTMENTS.index(each)) for each in compartments}
