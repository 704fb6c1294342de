"""What an object may be: a whole cell or a nucleus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

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
