"""How one slide is worked on by many tasks: where its arrays lie, and which task does what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cellmill.arrays.windows import Box
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, in_order, is_kind
from cellmill.models.card import ModelCard
from cellmill.preprocessing import Normalisation
from cellmill.segmentation.interface import IMAGE
from cellmill.segmentation.methods import Recipe

#: Shards are whole multiples of this many pixels: two tasks never write one shard of a store.
UNIT = 2048


@dataclass(frozen=True)
class SlidePlan:
    """What every task of a slide goes by.

    Attributes:
        name: of the image.
        store: URI of the folder under which the slide's arrays lie.
        shape: `(Y, X)` at the model's scale.
        channels: which of the image's channels the model is given, in its order.
        normalisation: the whole slide's statistics.
        compartments: what is segmented, whole cells first.
        shards: the parts of the slide at the model's scale, one a task.
        fingerprint: of all that the arrays depend on: work begun for another plan is not taken up.
    """

    name: str
    store: str
    shape: tuple[int, int]
    channels: tuple[int, ...]
    normalisation: Normalisation
    compartments: tuple[Compartment, ...]
    shards: tuple[Box, ...]
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "store": self.store,
            "shape": [*self.shape],
            "channels": [*self.channels],
            "normalisation": self.normalisation.to_dict(),
            "compartments": [*self.compartments],
            "shards": [[box.y0, box.y1, box.x0, box.x1] for box in self.shards],
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def of(cls, attributes: Mapping[str, Any], name: str) -> SlidePlan:
        """Read the plan that the stage plan_slide left with an image.

        Args:
            attributes: of the image's entry.
            name: the image's, for error messages.

        Raises:
            BadInput: there is none, or it is damaged.
        """
        what = f"plan of '{name}'"
        try:
            values = attributes["plan"]
            return cls(
                name=str(values["name"]),
                store=str(values["store"]),
                shape=(int(values["shape"][0]), int(values["shape"][1])),
                channels=tuple(int(c) for c in values["channels"]),
                normalisation=Normalisation.from_dict(values["normalisation"]),
                compartments=_kinds(values["compartments"]),
                shards=tuple(Box(*(int(edge) for edge in box)) for box in values["shards"]),
                fingerprint=str(values["fingerprint"]),
            )
        except BadInput as bad:
            raise BadInput(f"{what}, {bad.what}", expected=bad.expected, found=bad.found) from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise BadInput(
                what,
                expected="a plan, as the stage plan_slide makes it",
                found=f"{type(error).__name__}: {error}",
            ) from error


def _kinds(names: Any) -> tuple[Compartment, ...]:
    kinds = in_order(names) if isinstance(names, list) else ()
    if not kinds or not all(isinstance(kind, str) and is_kind(kind) for kind in kinds):
        raise BadInput("compartments", expected="names of kinds of object", found=f"{names}")
    return kinds


def check_shard(shard: int) -> None:
    """Refuse what is no number of a shard; a slide may have fewer shards than another.

    Raises:
        BadInput: the number is negative.
    """
    if shard < 0:
        raise BadInput("shard", expected="a number from 0 on", found=f"{shard}")


def shard_boxes(shape: tuple[int, int], most: int, unit: int = UNIT) -> list[Box]:
    """Cut an image into at most so many nearly square parts of whole units, in raster order.

    Args:
        shape: `(Y, X)`.
        most: how many parts, at least 1.
        unit: side in pixels of which all sides are multiples, but for those at the far border.
    """
    rows, columns = (max(1, math.ceil(side / unit)) for side in shape)
    side = 1
    while math.ceil(rows / side) * math.ceil(columns / side) > most:
        side += 1
    step = side * unit
    return [
        Box(y, min(y + step, shape[0]), x, min(x + step, shape[1]))
        for y in range(0, shape[0], step)
        for x in range(0, shape[1], step)
    ]


class MapSource(NamedTuple):
    """Which channels of which head a map of a slide keeps.

    Attributes:
        head: the head's name; `image` is what the network was shown.
        channels: an index: one channel, which leaves a plane, or several.
        depth: how many channels the map has; 0 is a plane.
        stride: pixels at the model's scale a value of the map, along each axis.
    """

    head: str
    channels: int | slice
    depth: int
    stride: int

    def shape_over(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """The map's shape over an image of shape `(Y, X)` at the model's scale."""
        sides = tuple(-(-side // self.stride) for side in shape)
        return (*sides, self.depth) if self.depth else sides


def map_name(compartment: str, role: str) -> str:
    """What a slide's map is called that plays a role in finding a kind of object."""
    return f"{compartment}_{role}"


def map_layout(
    card: ModelCard, recipes: Mapping[str, Recipe], shape: tuple[int, int]
) -> dict[str, tuple[tuple[int, ...], type, str]]:
    """Shape, dtype and axes of each map that a slide of a shape `(Y, X)` keeps, by its name."""
    return {
        name: (kept.shape_over(shape), np.float32, "YXC" if kept.depth else "YX")
        for name, kept in map_sources(card, recipes).items()
    }


def map_sources(card: ModelCard, recipes: Mapping[str, Recipe]) -> dict[str, MapSource]:
    """Which heads' channels a slide keeps, by the name of the map.

    Of all that the network gives only what some method reads is kept: the rest of a slide's
    predictions would be most of its bytes.
    """
    heads = {head.name: (head.channels, head.stride) for head in card.heads}
    heads[IMAGE] = (len(card.input.channels), 1)
    found: dict[str, MapSource] = {}
    for name, recipe in recipes.items():
        for role in recipe.method.roles:
            head, first = recipe.sources[role.name].head, recipe.sources[role.name].channel
            channels, stride = heads[head]
            stop = first + role.channels if role.channels else channels
            found[map_name(name, role.name)] = (
                MapSource(head, first, 0, stride)
                if role.channels == 1
                else MapSource(head, slice(first, stop), stop - first, stride)
            )
    return found
