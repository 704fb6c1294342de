"""What `train_segmenter` does where objects are taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import NUCLEAR, Compartment, typed, typed_kinds
from cellmill.models.card import ModelCard
from cellmill.stages.shared.training_base import Base, Named, built_of_planes
from cellmill.stages.shared.training_images import count_objects
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import head_names, trained_card
from cellmill.training.extents import object_lengths
from cellmill.training.images import TrainingImage
from cellmill.training.instances import INSTANCES
from cellmill.training.network import build_network, build_star_network, receptive_field
from cellmill.training.object_sizes import trained_sizes
from cellmill.training.objective import Objective
from cellmill.training.stars import StarObjective
from cellmill.training.thresholds import STAR_CONVEX, choose_thresholds

#: Of star-convex networks.
_FEWEST_RAYS, _MOST_RAYS = 8, 128


@dataclass
class InstanceTraining:
    """Objects of some kinds, each with a number of its own.

    Args:
        kinds: that are taught.
        rays: of a star-convex network; 0 is one of inner distances.
    """

    kinds: tuple[Compartment, ...]
    rays: int = 0

    @classmethod
    def of(
        cls, compartment: str, method: str = "deep_watershed", rays: int = 0
    ) -> InstanceTraining:
        """What a user's compartment and method ask for."""
        if method == "stardist" and not _FEWEST_RAYS <= rays <= _MOST_RAYS:
            expected = f"{_FEWEST_RAYS} to {_MOST_RAYS}"
            raise BadInput("rays", expected=expected, found=f"{rays}")
        return cls(typed_kinds(compartment, offered=None), rays if method == "stardist" else 0)

    @property
    def augmentation(self) -> Augmentation:
        """Where cells are found whole, cytoplasm is no background and mitosis no small cell."""
        whole = self.kinds != (NUCLEAR,)
        return Augmentation(cytoplasm=0, condensed=0) if whole else Augmentation()

    def check_base(self, base: Base) -> None:
        """Refuse a base of other kinds of object, by BadInput."""
        has = base.card.compartments
        if self.kinds != has or base.card.training.get("classes"):
            wanted = " and ".join(map(typed, self.kinds))
            found = " and ".join(map(typed, has))
            expected = f"a model of compartment '{wanted}'"
            raise BadInput("base", expected=expected, found=f"'{base.card.name}', of {found}")
        made = base.card.training.get("network")
        rays = int(made.get("rays", 0)) if isinstance(made, dict) else 0
        if rays != self.rays:
            wanted, found = (
                f"method stardist with {count} rays" if count else "method deep_watershed"
                for count in (self.rays, rays)
            )
            found = f"'{base.card.name}', of {found}"
            raise BadInput("base", expected=f"a model of {wanted}", found=found)

    def read(self, images: Sequence[TrainingImage]) -> list[TrainingImage]:
        """The images as the objective takes them."""
        return [*images]

    def objective(self, training: Sequence[TrainingImage]) -> Objective:
        """What the network is taught."""
        return StarObjective(self.rays) if self.rays else INSTANCES

    def network(self, channels: int) -> Any:
        """A new network."""
        names = [name for each in self.kinds for name in head_names(each, self.rays)]
        if self.rays:
            return build_star_network(channels, names, self.rays)
        return build_network(channels, names)

    def built(self) -> dict[str, Any]:
        """How a new network is built, for the card."""
        return {**built_of_planes(), **({"rays": self.rays} if self.rays else {})}

    def sees(self, network: dict[str, Any]) -> int:
        """How many pixels in a row the network sees, by what the card says of it."""
        return receptive_field(network["widths"], network.get("bottom", 0))

    def said(self, training: Sequence[TrainingImage]) -> dict[str, Any]:
        """What the card says of the truth."""
        return {"objects": sum(count_objects(image.labels) for image in training)}

    def lengths(self, training: Sequence[TrainingImage]) -> dict[str, list[np.ndarray]]:
        """How long the objects are, by kind and image."""
        return {
            kind: [object_lengths(np.atleast_3d(image.labels)[..., k]) for image in training]
            for k, kind in enumerate(self.kinds)
        }

    def card(
        self,
        training: Sequence[TrainingImage],
        base: Base | None,
        channels: Sequence[str],
        said: dict[str, Any],
        named: Named,
    ) -> ModelCard:
        """The model's card, without accuracy."""
        sizes = trained_sizes(training, self.kinds)
        card = trained_card(
            named.name,
            named.version,
            self.kinds,
            channels,
            said,
            sizes=sizes,
            description=named.description,
            licence=named.licence,
            rays=self.rays,
        )
        return base.kept(card, sizes) if base else card

    def tuned(
        self, card: ModelCard, images: Sequence[TrainingImage], network: PredictBatch
    ) -> ModelCard:
        """The card with thresholds chosen on images held out, where the method asks for that."""
        return choose_thresholds(images, network, card, STAR_CONVEX) if self.rays else card

    def accuracy(
        self, which: str, images: Sequence[TrainingImage], network: PredictBatch, card: ModelCard
    ) -> dict[str, Any]:
        """What a model reaches, under `which`; of two compartments each under a name of its own."""
        several = len(card.compartments) > 1
        return {
            f"{which}_{each}" if several else which: measure_accuracy(images, network, card, each)
            for each in card.compartments
        }

    def headline(self, accuracy: dict[str, Any]) -> dict[str, Any]:
        """The few numbers that travel with the metrics artifact, within its 500 bytes."""
        return instance_headline(accuracy)


def instance_headline(accuracy: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of `measure_accuracy` that travel with an artifact."""
    return {
        f"{which}_{key}": value
        for which, measured in accuracy.items()
        for key, value in (
            ("ap50", measured["average_precision"]["0.5"]),
            ("ap70", measured["average_precision"]["0.7"]),
            ("pq", measured["panoptic_quality"]),
            ("objects", measured["objects"]),
        )
        if len(accuracy) < 4 or key.startswith("ap")
    }
