"""What is asked of a network, and what it answers, whichever protocol carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

#: Names under which a request gives its pixels, or says where they lie.
IMAGE, URI, BOX = "image", "uri", "box"
#: Parameter that says where what was made is written.
DESTINATION = "destination"


@dataclass(frozen=True)
class Ask:
    """One image or volume.

    Args:
        image: its pixels; None if they lie elsewhere.
        uri: where they lie; empty if they came along.
        box: which of them, the first and, last, what follows the last: (z, y, x, z, y, x); empty is
            all of them.
        parameters: how they are to be worked on, as the network's kind knows them.
    """

    image: np.ndarray | None
    uri: str = ""
    box: tuple[int, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a network made of one.

    Args:
        arrays: by output.
        facts: flat: numbers, texts and truths.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output as a client is told of it.

    Args:
        name: of the tensor.
        datatype: the protocol's name of its type.
        shape: -1 where a side is free.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As the protocol says it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class Served(Protocol):
    """A network that is loaded, ready for any number of threads."""

    @property
    def version(self) -> str:
        """Of the model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """What else may be said of an image: names, and what they mean."""

    @property
    def effect(self) -> Mapping[str, Any]:
        """What runs it: engine, device, precision."""

    def __call__(self, ask: Ask, /) -> Answer:
        """Work on one image or volume.

        Raises:
            BadInput: it is none, or not one that this network takes.
        """
