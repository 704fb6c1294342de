"""The card of a pixel classifier, with which the rest of the house takes it for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cellmill.errors import BadInput
from cellmill.labels.kinds import is_kind
from cellmill.models.card import Head, InputChannel, ModelCard, ModelInput, Tiling
from cellmill.pixel_classification.classifier import PixelClassifier

#: The head that shows the probabilities of all classes.
HEAD = "classes"
#: The class whose pixels are no objects.
BACKGROUND = "background"
#: A tile is at least so large, pixels, and at least so many times its halo.
_LEAST_TILE, _HALOS, _STEP = 512, 6, 64


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
    objects = [place for place, c in enumerate(classifier.classes) if c.name != BACKGROUND]
    names = [classifier.classes[place].name for place in objects]
    for each in names:
        if not is_kind(each):
            raise BadInput("classes", expected="names of kinds of object", found=f"'{each}'")
    halo = max(classifier.features.halo[-2:])
    side = -(-max(_LEAST_TILE, _HALOS * halo) // _STEP) * _STEP
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput(
            tuple(
                InputChannel(each, "as in the images that were scribbled on") for each in channels
            ),
            tile=(side, side),
        ),
        heads=(Head(HEAD, names[0], "pixelwise", len(classifier.classes), placement="cropped"),),
        # Each tile gives what has the whole halo around it.
        tiling=Tiling("reflect", (2 * halo + 2) / side, margin=halo),
        postprocessing={
            kind: {
                "method": "probability_watershed",
                "probability_head": HEAD,
                "probability_channel": place,
            }
            for kind, place in zip(names, objects, strict=True)
        },
        default_compartment=names[0],
        description=description,
        licence=licence,
        training=training,
        accuracy=accuracy,
    )
