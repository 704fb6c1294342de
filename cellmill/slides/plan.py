"""How one slide is worked on by many tasks: where its arrays lie, and which task does what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellmill.arrays.windows import Box
from cellmill.compartments import Compartment, compartments_of
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.preprocessing import Normalisation

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
        resized: whether the image is brought to the model's microns per pixel.
        normalisation: the whole slide's statistics.
        compartments: what is segmented, whole cells first.
        shards: the parts of the slide at the model's scale, one a task.
        fingerprint: of all that the arrays depend on: work begun for another plan is not taken up.
    """

    name: str
    store: str
    shape: tuple[int, int]
    channels: tuple[int, ...]
    resized: bool
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
            "resized": self.resized,
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
                resized=bool(values["resized"]),
                normalisation=Normalisation.from_dict(values["normalisation"]),
                compartments=compartments_of(values["compartments"], "compartments"),
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


def map_sources(card: ModelCard, compartments: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Which heads' channels a slide keeps: head and channel by the name of the map.

    Of all that the network gives only the two maps of each compartment that post-processing reads
    are kept: the rest of a slide's predictions would be most of its bytes.
    """
    found: dict[str, tuple[str, int]] = {}
    for name, parameters in card.postprocessing.items():
        if name in compartments:
            found[f"{name}_maxima"] = (parameters.maxima_head, parameters.maxima_channel)
            found[f"{name}_interior"] = (parameters.interior_head, parameters.interior_channel)
    return found
