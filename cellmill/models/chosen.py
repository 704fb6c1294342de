"""What to segment and how: a card's post-processing with what a caller set in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cellmill.compartments import COMPARTMENTS, Compartment
from cellmill.errors import BadInput
from cellmill.models.card import Head, ModelCard, PostprocessingParameters

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
    names = tuple(known for known in COMPARTMENTS if name in (known, "both"))
    if not names or not set(names) <= set(card.compartments):
        offered = " or ".join(known.replace("_", "-") for known in card.compartments)
        raise BadInput(
            "compartment", expected=f"what model '{card.name}' has: {offered}", found=f"'{wanted}'"
        )
    return names


def heads_for(card: ModelCard, wanted: str) -> tuple[Head, ...]:
    """The heads that post-processing reads to segment something, in the card's order.

    Args:
        card: the model's.
        wanted: as `chosen_compartments` takes it.

    Raises:
        BadInput: the model does not have it.
    """
    read = {
        name
        for compartment in chosen_compartments(card, wanted)
        for name in (
            card.postprocessing[compartment].maxima_head,
            card.postprocessing[compartment].interior_head,
        )
    }
    return tuple(head for head in card.heads if head.name in read)


def chosen_parameters(
    card: ModelCard,
    compartments: Sequence[Compartment],
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


def card_of(attributes: Mapping[str, Any], what: str) -> ModelCard:
    """The card of the model that a batch was made for or with, as its attributes hold it.

    Args:
        attributes: of the batch.
        what: the batch, in error messages.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    if "model" not in attributes:
        raise BadInput(what, expected="a model's card in the manifest", found="none")
    return ModelCard.from_dict(attributes["model"], f"model card of {what}")


def check_made_for(card: ModelCard, attributes: Mapping[str, Any], what: str) -> None:
    """Refuse images that were brought to what another model expects.

    Args:
        card: of the model that is to be run.
        attributes: of the batch of images; without a card they are taken as they are.
        what: the batch, in error messages.

    Raises:
        BadInput: they were made for another input or with another preprocessing.
    """
    if "model" not in attributes:
        return
    other = card_of(attributes, what)
    if (other.input, other.preprocessing) != (card.input, card.preprocessing):
        raise BadInput(
            what,
            expected=f"images preprocessed for model '{card.name}' {card.version}",
            found=f"for '{other.name}' {other.version}, with another input or preprocessing",
        )
