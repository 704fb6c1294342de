"""Which kinds of object to segment, and whether images were made for a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, typed_kinds
from cellmill.models.card import ModelCard


def chosen_compartments(card: ModelCard, wanted: str) -> tuple[Compartment, ...]:
    """The kinds of object to segment, well known ones first.

    Args:
        card: the model's.
        wanted: as users type them, see `cellmill.labels.kinds.typed_kinds`; empty for the card's
            default.

    Raises:
        BadInput: the model does not have it, or finds no objects.
    """
    if not card.compartments:
        what = f"model '{card.name}'"
        raise BadInput(what, expected="one that finds objects", found="one that makes images")
    if not wanted.strip():
        return (card.default_compartment,)
    try:
        return typed_kinds(wanted, card.compartments)
    except BadInput as bad:
        expected = f"what model '{card.name}' has: {bad.expected}"
        raise BadInput(bad.what, expected=expected, found=bad.found) from None


def chosen_compartment(card: ModelCard, wanted: str) -> Compartment:
    """The one kind of object to segment; see `chosen_compartments`.

    Raises:
        BadInput: the model does not have it, or several are named.
    """
    found = chosen_compartments(card, wanted)
    if len(found) != 1:
        raise BadInput("compartment", expected="one kind of object", found=f"'{wanted}'")
    return found[0]


def check_sees_planes(card: ModelCard) -> None:
    """Refuse a network that sees volumes where images are given.

    Raises:
        BadInput: it does.
    """
    if card.input.sees_volumes:
        raise BadInput(
            f"model '{card.name}'",
            expected="a network of planes for images (Y, X)",
            found="one that sees volumes (Z, Y, X), which Z=all reads",
        )


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
