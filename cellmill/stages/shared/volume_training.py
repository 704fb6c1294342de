"""What `train_segmenter` does where objects are taught in volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import Compartment, typed, typed_kinds
from cellmill.labels.objects import areas_by_id
from cellmill.models.card import ModelCard
from cellmill.stages.shared.instance_training import instance_headline
from cellmill.stages.shared.training_base import Base, Named
from cellmill.stages.shared.training_voxels import Voxels
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import head_names
from cellmill.training.extents import object_lengths
from cellmill.training.images import TrainingImage
from cellmill.training.objective import Objective
from cellmill.training.thresholds import VOLUMES, choose_thresholds
from cellmill.training.volume_card import volume_card
from cellmill.training.volume_network import build_volume_network
from cellmill.training.volumes import VOLUME_AUGMENTATION, VolumeObjective


@dataclass
class VolumeTraining:
    """Objects of one kind in volumes, each with a number of its own.

    Args:
        kinds: the one that is taught.
        voxels: of the volumes.
    """

    kinds: tuple[Compartment, ...]
    voxels: Voxels = field(default_factory=Voxels)
    rays: int = 0
    augmentation: Augmentation = VOLUME_AUGMENTATION

    @classmethod
    def of(cls, compartment: str, method: str) -> VolumeTraining:
        """What a user asks for.

        Raises:
            BadInput: it is taught in images only.
        """
        if method != "deep_watershed":
            expected = "deep_watershed, where volumes are given"
            raise BadInput("method", expected=expected, found=method)
        kinds = typed_kinds(compartment, offered=None)
        if len(kinds) > 1:
            expected = "one kind of object, where volumes are given"
            raise BadInput("compartment", expected=expected, found=compartment)
        return cls(kinds)

    def check_base(self, base: Base) -> None:
        """Refuse a base that sees no volumes, or finds other objects, by BadInput."""
        self.voxels.take_base(base)
        if [head.kind for head in base.card.heads] != ["inner_distance", "pixelwise"]:
            expected = "a model of objects in volumes"
            raise BadInput("base", expected=expected, found=f"'{base.card.name}', of classes")
        if base.card.compartments != self.kinds:
            expected = f"a model of compartment '{typed(self.kinds[0])}'"
            found = " and ".join(map(typed, base.card.compartments))
            raise BadInput("base", expected=expected, found=f"'{base.card.name}', of {found}")

    def read(self, images: Sequence[TrainingImage]) -> list[TrainingImage]:
        """The volumes as they are, their voxels known and alike.

        Raises:
            BadInput: they are not.
        """
        self.voxels.read(images)
        return [*images]

    def objective(self, training: Sequence[TrainingImage]) -> Objective:
        """What the network is taught."""
        return VolumeObjective(self.voxels.spacing, self.voxels.shape)

    def network(self, channels: int) -> Any:
        """A new network."""
        return build_volume_network(channels, head_names(self.kinds[0]), self.voxels.shape)

    def built(self) -> dict[str, Any]:
        """How the network is built, for the card."""
        return self.voxels.shape.as_card()

    def sees(self, network: dict[str, Any]) -> int:
        """How many pixels of a plane in a row the network sees."""
        return self.voxels.sees

    def said(self, training: Sequence[TrainingImage]) -> dict[str, Any]:
        """What the card says of the truth."""
        return {
            "objects": sum(int((areas_by_id(i.labels)[1:] > 0).sum()) for i in training),
            **self.voxels.said(),
        }

    def lengths(self, training: Sequence[TrainingImage]) -> dict[str, list[np.ndarray]]:
        """How long the objects are within planes, by image."""
        return {self.kinds[0]: [object_lengths(image.labels) for image in training]}

    def card(
        self,
        training: Sequence[TrainingImage],
        base: Base | None,
        channels: Sequence[str],
        said: dict[str, Any],
        named: Named,
    ) -> ModelCard:
        """The model's card, without accuracy."""
        card = volume_card(
            (named.name, named.version), self.kinds[0], channels, said, self.voxels.shape, training
        )
        sizes = {
            "object_diameter": card.input.object_diameter,
            "object_diameter_um": card.input.object_diameter_um,
        }
        card = named.on(card)
        return base.kept(card, sizes) if base else card

    def tuned(
        self, card: ModelCard, images: Sequence[TrainingImage], network: PredictBatch
    ) -> ModelCard:
        """The card with thresholds chosen on volumes held out."""
        return choose_thresholds(images, network, card, VOLUMES)

    def accuracy(
        self, which: str, images: Sequence[TrainingImage], network: PredictBatch, card: ModelCard
    ) -> dict[str, Any]:
        """What a model reaches, under `which`."""
        return {which: measure_accuracy(images, network, card, self.kinds[0])}

    def headline(self, accuracy: dict[str, Any]) -> dict[str, Any]:
        """The few numbers that travel with the metrics artifact, within its 500 bytes."""
        return instance_headline(accuracy)
