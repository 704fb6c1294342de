"""The card of a pixel classifier, with which the rest of the house takes it for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cellmill.arrays.indexing import round_up
from cellmill.errors import BadInput
from cellmill.labels.kinds import Compartment, is_kind
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Tiling
from cellmill.pixel_classification.classifier import PixelClass, PixelClassifier

#: The head that shows the probabilities of all classes.
HEAD = "classes"
#: The class whose pixels are no objects.
BACKGROUND = "background"
#: A tile of planes is at least so large, pixels, and at least so many times its halo.
_LEAST_TILE, _HALOS, _STEP = 512, 6, 64
#: A block of a volume likewise, along each axis.
_LEAST_BLOCK, _BLOCK_STEP = 64, 8


def classifier_card(
    classifier: PixelClassifier,
    name: str,
    version: str,
    channels: Sequence[str],
    training: Mapping[str, Any],
    accuracy: Mapping[str, Any],
    description: str = "",
    licence: str = "",
) -> ModelCard:
    """The card of a classifier.

    Every class but the background is a kind of object, which `probability_watershed` finds.

    Args:
        classifier: of which it is.
        name: of the model.
        version: of the model.
        channels: names of the images' channels.
        training: what it was made of.
        accuracy: what was measured.
        description: for a person.
        licence: of the classifier.

    Raises:
        BadInput: a class that is no background cannot be a kind of object.
    """
    objects = class_objects(classifier.classes)
    first = next(iter(objects))
    tile, tiling = _tiles(classifier.features.halo)
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput(
            tuple(
                InputChannel(each, "as in the images that were scribbled on") for each in channels
            ),
            tile=tile,
        ),
        heads=(Head(HEAD, first, "pixelwise", len(classifier.classes), placement="cropped"),),
        tiling=tiling,
        postprocessing=objects,
        default_compartment=first,
        description=description,
        licence=licence,
        training=training,
        accuracy=accuracy,
    )


def _tiles(halo: Sequence[int]) -> tuple[tuple[int, ...], Tiling]:
    """Sides of tiles, or of blocks of a volume, each of which gives what has its whole halo."""
    if len(halo) == 2:
        far = max(halo)
        side = round_up(max(_LEAST_TILE, _HALOS * far), _STEP)
        return (side, side), Tiling("reflect", (2 * far + 2) / side, margin=far)
    sides = tuple(round_up(max(_LEAST_BLOCK, _HALOS * far), _BLOCK_STEP) for far in halo)
    # Neighbours share a part of their sides, which is at least twice the halo along each axis.
    return sides, Tiling("reflect", overlap=2 / _HALOS)


def class_objects(classes: Sequence[PixelClass]) -> dict[Compartment, dict[str, Any]]:
    """How objects of each class but the background are found, as a card has it.

    Args:
        classes: in the order of the head's channels.

    Raises:
        BadInput: a class that is no background cannot be a kind of object, or there is none.
    """
    found: dict[Compartment, dict[str, Any]] = {}
    for place, each in enumerate(classes):
        if each.name == BACKGROUND:
            continue
        if not is_kind(each.name):
            raise BadInput("classes", expected="names of kinds of object", found=f"'{each.name}'")
        found[each.name] = {
            "method": "probability_watershed",
            "probability_head": HEAD,
            "probability_channel": place,
        }
    return found


def classes_of(card: ModelCard) -> tuple[PixelClass, ...]:
    """The classes of a model that says of each pixel how likely it is of each.

    Raises:
        BadInput: the card names none, or not one for each channel of the head.
    """
    told = card.training.get("classes")
    heads = [head for head in card.heads if head.name == HEAD]
    try:
        found = tuple(
            PixelClass(int(each["value"]), str(each["name"]), str(each["colour"]))
            for each in told or ()
        )
    except (KeyError, TypeError, ValueError):
        found = ()
    if not found or not heads or heads[0].channels != len(found):
        expected = "a model of classes of pixels, named on its card"
        raise BadInput(f"model '{card.name}'", expected=expected, found="none")
    return found
