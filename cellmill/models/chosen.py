"""What to segment and how: a card's post-processing with what a caller set in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from cellmill.errors import BadInput
from cellmill.models.card import Compartment, ModelCard, PostprocessingParameters

#: A parameter of this value leaves the card's; maps and their thresholds are not negative.
CARDS = -1


def chosen_compartments(card: ModelCard, wanted: str) -> tuple[Compartment, ...]:
    """The compartments to segment, whole cells first.

    Args:
        card: the model's.
        wanted: `whole-cell`, `nuclear` or `both`; empty for the card's default.

    Raises:
        BadInput: the model does not have it.
    """
    name = wanted.replace("-", "_") or card.default_compartment
    names = tuple(known for known in get_args(Compartment) if name in (known, "both"))
    if not names or not set(names) <= set(card.compartments):
        offered = " or ".join(known.replace("_", "-") for known in card.compartments)
        raise BadInput(
            "compartment", expected=f"what model '{card.name}' has: {offered}", found=f"'{wanted}'"
        )
    return names


def chosen_parameters(
    card: ModelCard,
    compartments: tuple[Compartment, ...],
    numbers: Mapping[str, float],
    maxima_algorithm: str = "",
) -> dict[str, PostprocessingParameters]:
    """The card's parameters of each compartment, with what the caller set in their place.

    Args:
        card: the model's.
        compartments: as `chosen_compartments` gives them.
        numbers: parameters by name; `CARDS` leaves the card's.
        maxima_algorithm: empty leaves the card's.

    Raises:
        BadInput: a number is below 0 and not `CARDS`.
    """
    changes: dict[str, Any] = {name: value for name, value in numbers.items() if value != CARDS}
    for name, value in changes.items():
        if value < 0:
            raise BadInput(name, expected=f"0 or more, or {CARDS} for the card's", found=f"{value}")
    if maxima_algorithm:
        changes["maxima_algorithm"] = maxima_algorithm
    return {
        name: dataclasses.replace(card.postprocessing[name], **changes) for name in compartments
    }
