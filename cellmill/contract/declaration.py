"""What a stage function says of itself beyond its signature: where it runs, where it is listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: Families of stages in the order in which a reader meets them, and what each is about.
FAMILIES: Mapping[str, str] = {
    "input": "Images and models in",
    "restoration": "Images made sharper and cleaner",
    "segmentation": "From images to labelled cells",
    "slides": "Images larger than memory, in shards",
    "measurement": "From labelled cells to numbers",
    "reporting": "What people look at and take elsewhere",
    "training": "Training networks and choosing parameters",
    "style transfer": "Electron microscopy made to look like other",
    "benchmarking": "What it takes: time, memory, money",
    "reference": "Other packages, to compare with",
}

_ATTRIBUTE = "_cellmill_declaration"


@dataclass(frozen=True)
class Declaration:
    """What `stage` attached to a function.

    Attributes:
        image: the container image that the stage runs in, a folder under `images/`.
        family: under which heading of the components' index it is listed, one of `FAMILIES`.
    """

    image: str
    family: str


def stage(*, image: str, family: str) -> Callable[[F], F]:
    """Mark a function as a stage; its component is generated from it by `make compile`.

    Args:
        image: the container image that it runs in, a folder under `images/`.
        family: under which heading of the components' index it is listed, one of `FAMILIES`.
    """

    def attach(function: F) -> F:
        setattr(function, _ATTRIBUTE, Declaration(image, family))
        return function

    return attach


def declaration_of(function: Callable[..., Any]) -> Declaration | None:
    """Return what `stage` attached to a function, or None where it is not marked."""
    found: Declaration | None = getattr(function, _ATTRIBUTE, None)
    return found
