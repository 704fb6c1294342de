"""Networks of an earlier training, of both directions, to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill import extras
from cellmill.arrays.resume import key_of
from cellmill.errors import BadInput
from cellmill.models.fetch import FetchedModel
from cellmill.models.networks import network_digest
from cellmill.style_transfer.cyclegan import Networks, inflate
from cellmill.style_transfer.parameters import TransferParameters

#: What two trainings must have in common for one to go on from the other's networks.
_SHARED = ("width", "depth", "residual")


@dataclass(frozen=True)
class Base:
    """Generators' weights.

    Args:
        to_y: in the generator's order.
        to_x: of the other direction.
        sees_volumes: whether they are of generators of volumes.
        digest: of both networks' files.
    """

    to_y: Sequence[np.ndarray]
    to_x: Sequence[np.ndarray]
    sees_volumes: bool
    digest: str


def load_base(to_y: FetchedModel, to_x: FetchedModel, parameters: TransferParameters) -> Base:
    """Read the weights of two networks that `train_style_transfer` wrote.

    Args:
        to_y: the network from X to Y.
        to_x: the one back.
        parameters: of the training that is to go on from them.

    Raises:
        BadInput: they are others, of another width, depth or kind, or of volumes where planes are
            to be learnt from.
    """
    for key, fetched in (("base", to_y), ("base_back", to_x)):
        _check(f"{key} '{fetched.origin}'", fetched, parameters)
    volumes = [each.card.input.sees_volumes for each in (to_y, to_x)]
    if volumes[0] != volumes[1]:
        raise BadInput("base_back", expected="a network of the kind of base", found="another")
    digest = key_of(network_digest(to_y.folder), network_digest(to_x.folder))
    return Base(_weights(to_y), _weights(to_x), volumes[0], digest)


def begin_with(networks: Networks, base: Base, parameters: TransferParameters) -> None:
    """Give untrained networks a base's generators; in place. The discriminators know nothing yet.

    Args:
        networks: as `build_networks` makes them.
        base: as `load_base` reads it for the same parameters.
        parameters: of the training.
    """
    if base.sees_volumes:
        inflate(networks, parameters)
    networks.to_y.set_weights(base.to_y)
    networks.to_x.set_weights(base.to_x)
    networks.averages = [network.get_weights() for network in (networks.to_y, networks.to_x)]
    networks.base = base.digest


def _check(what: str, fetched: FetchedModel, parameters: TransferParameters) -> None:
    made: Any = fetched.card.training.get("parameters")
    chosen: Any = fetched.card.training.get("chosen")
    if not isinstance(made, dict) or not isinstance(chosen, dict) or "cycle" not in made:
        raise BadInput(what, expected="a network that train_style_transfer wrote", found="another")
    if chosen.get("step", -1) < 0:
        raise BadInput(what, expected="a network that was learnt", found=f"{chosen.get('name')}")
    asked, found = (
        ", ".join(f"{name} {of(name)}" for name in _SHARED)
        for of in (lambda name: getattr(parameters, name), made.get)
    )
    if asked != found:
        raise BadInput(what, expected=asked, found=found)
    if fetched.card.input.sees_volumes and parameters.steps:
        expected = "a network of planes, or steps 0: volumes alone are learnt from"
        raise BadInput(what, expected=expected, found="one of volumes")


def _weights(fetched: FetchedModel) -> list[np.ndarray]:
    """As `write_savedmodel` keeps them; nothing of the network is run."""
    tf = extras.load("tensorflow", "style transfer")
    kept = tf.train.load_checkpoint(str(fetched.folder / "variables" / "variables"))
    count = sum(name.startswith("weights/") for name in kept.get_variable_to_shape_map())
    names = (f"weights/{n}/.ATTRIBUTES/VARIABLE_VALUE" for n in range(count))
    return [np.asarray(kept.get_tensor(name)) for name in names]
