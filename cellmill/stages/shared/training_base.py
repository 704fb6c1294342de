"""The model that a training goes on from, and what the new one is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellmill.contract import Model
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.models.trust import check_network
from cellmill.training.export import trainable_network
from cellmill.training.network import BOTTOM, GAINS, WIDTHS


@dataclass(frozen=True)
class Named:
    """What a user calls a model, for its card."""

    name: str
    version: str
    description: str
    licence: str

    def on(self, card: ModelCard) -> ModelCard:
        """A card with what is said of the model."""
        return replace(card, description=self.description, licence=self.licence)


@dataclass(frozen=True)
class Base:
    """A model that a training goes on from, and where it came from."""

    path: Path
    card: ModelCard
    source: str

    def network(self, channels: int) -> Any:
        """Its network, ready to be trained further.

        Raises:
            BadInput: it takes other channels than the images have.
        """
        network = trainable_network(self.path, self.card)
        if network.input_shape[-1] != channels:
            raise BadInput(
                "base",
                expected=f"a model of {channels} channels, as the images have",
                found=f"'{self.card.name}' of {network.input_shape[-1]}",
            )
        return network

    def kept(self, card: ModelCard, sizes: Mapping[str, Any]) -> ModelCard:
        """Give a card what stays the base's: input but for objects' sizes, steps before and after.

        Args:
            card: the new model's.
            sizes: of the objects it was trained on.
        """
        return replace(
            card,
            input=replace(self.card.input, **sizes),
            preprocessing=self.card.preprocessing,
            postprocessing=self.card.postprocessing,
        )


def open_base(base: Model, source: str, trusted: bool) -> Base:
    """Open the model that a training goes on from.

    Raises:
        BadInput: it has no card; or its network could do more than compute, and is not trusted.
    """
    card = ModelCard.load(base.path)
    if not trusted:
        check_network(base.path, "base")
    return Base(base.path, card, source)


def built_of_planes() -> dict[str, Any]:
    """How a new network of planes is built, for the card."""
    return {"widths": list(WIDTHS), "gains": list(GAINS), "bottom": BOTTOM}


def origin(base: Base | None, network: Any, built: Mapping[str, Any]) -> dict[str, Any]:
    """Say for the card what the training began with, and how its network is built."""
    if base:
        return {
            "base": f"{base.card.name} {base.card.version}",
            "base_source": base.source,
            "network": base.card.training["network"],
        }
    made = {**built, "weights": network.count_params()}
    return {"base": "", "base_source": "", "network": made}
