"""What `train_segmenter` does where classes of pixels are taught, in images or in volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from cellmill.errors import BadInput
from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import Compartment
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.card import BACKGROUND, HEAD, class_objects, classes_of
from cellmill.pixel_classification.classifier import PixelClass, named_classes
from cellmill.stages.shared.training_base import Base, Named, built_of_planes
from cellmill.stages.shared.training_voxels import Voxels
from cellmill.training.accuracy import measure_classes
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import class_card
from cellmill.training.classes import class_objective, pixel_counts
from cellmill.training.extents import piece_lengths
from cellmill.training.images import TrainingImage
from cellmill.training.network import build_class_network, receptive_field
from cellmill.training.objective import Objective
from cellmill.training.volume_card import volume_class_card
from cellmill.training.volume_classes import VolumeClassObjective
from cellmill.training.volume_network import build_volume_class_network
from cellmill.training.volumes import VOLUME_AUGMENTATION

#: More values than these are numbers of objects rather than classes.
_MOST_CLASSES = 64


@dataclass
class SemanticTraining:
    """Classes of pixels.

    Args:
        names: of the classes, in the order of their values; none are given names.
        weights: of the classes in the loss, with commas between; empty to balance them.
        zero_is_background: 0 is a class of its own, not pixels without a label.
        voxels: of volumes; None of images.
    """

    names: tuple[str, ...]
    weights: str
    zero_is_background: bool
    voxels: Voxels | None = None
    kinds: tuple[Compartment, ...] = ()
    rays: int = 0
    classes: tuple[PixelClass, ...] = ()
    _said: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, classes: str, weights: str, zero: str, volumes: bool = False) -> SemanticTraining:
        """What a user asks for."""
        names = tuple(part.strip() for part in classes.split(",") if part.strip())
        return cls(names, weights, zero == "background", Voxels() if volumes else None)

    @property
    def augmentation(self) -> Augmentation:
        """Without what single objects are moved or brightened by: classes have none."""
        if self.voxels:
            return VOLUME_AUGMENTATION
        return Augmentation(crowding=0, cytoplasm=0, condensed=0)

    def check_base(self, base: Base) -> None:
        """Refuse a base of other classes, once the images' are known, by BadInput."""
        if self.voxels:
            self.voxels.take_base(base)
        elif base.card.input.sees_volumes:
            found = f"'{base.card.name}', which sees volumes"
            raise BadInput("base", expected="a model of images", found=found)
        has = classes_of(base.card)
        names = tuple(each.name for each in has)
        if self.names and self.names != names:
            wanted = f"a model of classes {', '.join(self.names)}"
            found = f"'{base.card.name}', of {', '.join(names)}"
            raise BadInput("base", expected=wanted, found=found)
        self.names, self.classes = names, has

    def read(self, images: Sequence[TrainingImage]) -> list[TrainingImage]:
        """The images with the places of their classes, from 1 on, in place of the values.

        Raises:
            BadInput: there are fewer than two classes, other names than classes, or values that no
                class of the base has; or an image has something that is no object; or voxels are
                not known or not alike.
        """
        if self.voxels:
            self.voxels.read(images)
        found = np.unique(
            np.concatenate([np.zeros(0, int), *(np.unique(i.labels) for i in images)])
        )
        values = found if self.zero_is_background else found[found > 0]
        if len(values) > _MOST_CLASSES:
            expected = f"values of at most {_MOST_CLASSES} classes"
            raise BadInput(
                "labels", expected=expected, found=f"{len(values)} values, as of objects"
            )
        if not self.classes:
            try:
                self.classes = named_classes(values.tolist(), self.names)
            except BadInput as bad:
                what = "labels" if bad.what == "scribbles" else bad.what
                raise bad.about(what) from None
            class_objects(self.classes)
        has = [each.value for each in self.classes]
        if more := [value for value in values.tolist() if value not in has]:
            expected = f"values {', '.join(map(str, has))}, as the base has"
            raise BadInput("labels", expected=expected, found=f"{more[0]}")
        for image in images:
            if image.hard_background is not None and image.hard_background.any():
                expected = "none where classes are taught; it may be a class"
                found_in = f"some in '{image.name}'"
                raise BadInput("hard background", expected=expected, found=found_in)
        places = np.zeros(int(found.max(initial=0)) + 1, np.int32)
        for place, value in enumerate(has, start=1):
            if value < len(places):
                places[value] = place
        return [replace(i, labels=places[i.labels], hard_background=None) for i in images]

    def objective(self, training: Sequence[TrainingImage]) -> Objective:
        """What the network is taught."""
        counts = pixel_counts(training, len(self.classes))
        found = class_objective(counts, [each.name for each in self.classes], self.weights)
        shown = zip(self.classes, counts, found.weights, strict=True)
        self._said = {
            "task": "semantic",
            "classes": [
                {**asdict(each), "labelled_pixels": count, "weight": weight}
                for each, count, weight in shown
            ],
            "unlabelled_pixels": sum(i.labels.size for i in training) - sum(counts),
        }
        if self.voxels:
            self._said |= self.voxels.said()
            return VolumeClassObjective(found, self.voxels.spacing, self.voxels.shape)
        return found

    def network(self, channels: int) -> Any:
        """A new network."""
        if self.voxels:
            classes = len(self.classes)
            return build_volume_class_network(channels, HEAD, classes, self.voxels.shape)
        return build_class_network(channels, HEAD, len(self.classes))

    def built(self) -> dict[str, Any]:
        """How a new network is built, for the card."""
        return self.voxels.shape.as_card() if self.voxels else built_of_planes()

    def sees(self, network: dict[str, Any]) -> int:
        """How many pixels in a row the network sees, by what the card says of it."""
        if self.voxels:
            return self.voxels.sees
        return receptive_field(network["widths"], network.get("bottom", 0))

    def said(self, training: Sequence[TrainingImage]) -> dict[str, Any]:
        """What the card says of the truth."""
        return self._said

    def lengths(self, training: Sequence[TrainingImage]) -> dict[str, list[np.ndarray]]:
        """How long the connected pieces of each class are, by image."""
        return {
            each.name: [piece_lengths(image.labels, place) for image in training]
            for place, each in enumerate(self.classes, start=1)
            if each.name != BACKGROUND
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
        card = class_card(
            named.name,
            named.version,
            self.classes,
            channels,
            said,
            description=named.description,
            licence=named.licence,
        )
        if self.voxels:
            card = volume_class_card(card, self.voxels.shape)
        return base.kept(card, {}) if base else card

    def tuned(
        self, card: ModelCard, images: Sequence[TrainingImage], network: PredictBatch
    ) -> ModelCard:
        """The card as it is: nothing is chosen."""
        return card

    def accuracy(
        self, which: str, images: Sequence[TrainingImage], network: PredictBatch, card: ModelCard
    ) -> dict[str, Any]:
        """What a model reaches, under `which`."""
        return {which: measure_classes(images, network, card, self.classes)}

    def headline(self, accuracy: dict[str, Any]) -> dict[str, Any]:
        """The few numbers that travel with the metrics artifact, within its 500 bytes."""
        return {
            f"{which}_{key}": measured[key]
            for which, measured in accuracy.items()
            for key in ("accuracy", "mean_dice", "mean_iou")
        }
