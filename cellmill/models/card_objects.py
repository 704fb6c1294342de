"""What a card says of the objects that its model finds, held against itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cellmill.labels.kinds import Compartment, is_kind
from cellmill.typed_json import require

Plain = str | bool | int | float
"""What a parameter of a method may be on a card."""


def check_objects(
    postprocessing: Mapping[Compartment, Mapping[str, Any]], default: Compartment, is_image: bool
) -> None:
    """Check how objects are found, by their kind.

    Args:
        postprocessing: as the card has it.
        default: the kind that is segmented if nobody says.
        is_image: whether the network makes images, in which case it finds no objects.

    Raises:
        WrongField: something is missing, or contradicts the rest.
    """
    if is_image:
        require(not postprocessing, "postprocessing", "none", f"{[*postprocessing]}")
        require(not default, "default_compartment", "an empty text", repr(default))
        return
    require(bool(postprocessing), "postprocessing", "at least one compartment", "none")
    for kind, values in postprocessing.items():
        place = f"postprocessing.{kind}"
        require(is_kind(kind), place, "the name of a kind of object", repr(kind))
        require("method" in values, f"{place}.method", "the name of a method", "none")
        for name, value in values.items():
            plain = isinstance(value, Plain) and (isinstance(value, str) or abs(value) < math.inf)
            require(plain, f"{place}.{name}", "a number, a text, true or false", repr(value))
    named = f"one of {[*postprocessing]}"
    require(default in postprocessing, "default_compartment", named, repr(default))
