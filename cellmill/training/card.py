"""The card of a model that was just trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellmill import extras
from cellmill.models.card import (
    Compartment,
    Head,
    InputChannel,
    ModelCard,
    ModelInput,
    Preprocessing,
    Tiling,
)
from cellmill.pixel_classification.card import HEAD, class_objects
from cellmill.pixel_classification.classifier import PixelClass
from cellmill.training.network import STAR_STRIDE, STRIDE
from cellmill.version import __version__

PREPROCESSING = Preprocessing(
    method="percentile", low=1.0, high=99.8, noise_floor=18.0, outlier_limit=4.0
)
"""Cheap, monotone, and the same at every image size."""

MEANINGS = {
    "nuclear": "a fluorescent nuclear stain (DAPI, Hoechst, H2B), bright on dark",
    "cell": "a stain of whole cells, bright on dark",
    "membrane": "a fluorescent stain of membranes or cytoplasm, bright on dark",
}
"""Of the channels by the names that cards give them."""


_TILE = (512, 512)
"""At most: tiles are fitted to images. They share 64 pixels, in which they are blended; those of a
star-convex network 128, and are cropped, so that each pixel is 64 from its tile's edge."""

SCALE_TOLERANCE = 1.5
"""Objects so many times smaller or larger than the median are found as well: training zooms crops
to 0.5 to 2 times. Measured by `python -m bench.scale` on series held out of the training images."""


def head_names(compartment: Compartment, rays: int = 0) -> tuple[str, str]:
    """Names of the inner-distance head and of the pixelwise head, as in Mesmer's card.

    With rays, of the probability and of the distances along them.
    """
    if rays:
        return f"{compartment}_probability", f"{compartment}_distances"
    return f"{compartment}_inner_distance", f"{compartment}_pixelwise"


def made_with() -> dict[str, Any]:
    """What a card says of the code that trained the model, and how far a training repeats."""
    keras, tf = extras.load("keras", "training"), extras.load("tensorflow", "training")
    sources = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(file.name.encode() + b"\0" + file.read_bytes())
    return {
        "code": f"cellmill {__version__}",
        "sources": f"sha256 of cellmill/training/*.py: {sources.hexdigest()}",
        "frameworks": f"Keras {keras.__version__}, TensorFlow {tf.__version__}",
        "repeats": "to the bit with the same seed, code, frameworks, processor and number of "
        "threads, unless a time limit ended it; else to within the spread of a training",
    }


def trained_card(
    name: str,
    version: str,
    compartments: Sequence[Compartment],
    channels: Sequence[str],
    training: Mapping[str, Any],
    *,
    sizes: Mapping[str, Any],
    description: str = "",
    licence: str = "",
    rays: int = 0,
) -> ModelCard:
    """A card without accuracy, which is measured with it and added then.

    The parameters of the deep watershed are those that `make choose-postprocessing` chose on series
    held out of mnfinder's training images and on its validation images.

    Args:
        name: of the model.
        version: of the model.
        compartments: what it segments, in the order of its heads; the first by default.
        channels: names of the input's channels.
        training: what the card is to say of data, seed, code, curve.
        sizes: of the objects it was trained on, as `trained_sizes` gives them.
        description: for a person.
        licence: of the weights.
        rays: of a star-convex network; 0 is one of inner distances.
    """
    found = [_star_convex(kind, rays) if rays else _watershed(kind) for kind in compartments]
    postprocessing = {kind: plain for kind, (_, plain) in zip(compartments, found, strict=True)}
    inputs = tuple(InputChannel(channel, MEANINGS.get(channel, "")) for channel in channels)
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput(
            inputs,
            tile=_TILE,
            **sizes,
            scale_tolerance=SCALE_TOLERANCE,
            resampling="averaged",
        ),
        heads=tuple(head for own, _ in found for head in own),
        preprocessing=PREPROCESSING,
        tiling=Tiling("reflect", 0.25 if rays else 0.125, STRIDE, fitted=True),
        postprocessing=postprocessing,
        default_compartment=compartments[0],
        description=description,
        licence=licence,
        training=training,
    )


def class_card(
    name: str,
    version: str,
    classes: Sequence[PixelClass],
    channels: Sequence[str],
    training: Mapping[str, Any],
    *,
    description: str = "",
    licence: str = "",
) -> ModelCard:
    """A card of a network of pixel classes, without accuracy, which is added when it is measured.

    Every class but the background is a kind of object, which `probability_watershed` finds.

    Args:
        name: of the model.
        version: of the model.
        classes: in the order of the head's channels.
        channels: names of the input's channels.
        training: what the card is to say of data, classes, seed, code, curve.
        description: for a person.
        licence: of the weights.

    Raises:
        BadInput: a class that is no background cannot be a kind of object.
    """
    objects = class_objects(classes)
    first = next(iter(objects))
    inputs = tuple(InputChannel(channel, MEANINGS.get(channel, "")) for channel in channels)
    return ModelCard(
        name=name,
        version=version,
        input=ModelInput(inputs, tile=_TILE, resampling="averaged"),
        heads=(Head(HEAD, first, "pixelwise", len(classes)),),
        preprocessing=PREPROCESSING,
        tiling=Tiling("reflect", 0.125, STRIDE, fitted=True),
        postprocessing=objects,
        default_compartment=first,
        description=description,
        licence=licence,
        training=training,
    )


def _watershed(compartment: Compartment) -> tuple[tuple[Head, ...], dict[str, Any]]:
    """The heads of inner distances, and how objects are found in them."""
    distance, classes = head_names(compartment)
    heads = (
        Head(distance, compartment, "inner_distance", 1),
        Head(classes, compartment, "pixelwise", 3),
    )
    return heads, {
        "method": "deep_watershed",
        "maxima_head": distance,
        "maxima_channel": 0,
        "interior_head": classes,
        "interior_channel": 1,
        "maxima_threshold": 0.15,
        "maxima_smooth": 1.0,
        "interior_threshold": 0.4,
        "interior_smooth": 1.0,
        "pixel_expansion": 1,
        "radius": 2,
        "small_objects_fraction": 0.2,
    }


def _star_convex(compartment: Compartment, rays: int) -> tuple[tuple[Head, ...], dict[str, Any]]:
    """The heads of a star-convex network, and how objects are found in them."""
    probability, distances = head_names(compartment, rays)
    heads = (
        Head(probability, compartment, "pixelwise", 1, STAR_STRIDE, "cropped"),
        Head(distances, compartment, "ray_distances", rays, STAR_STRIDE, "cropped"),
    )
    return heads, {
        "method": "stardist",
        "probability_head": probability,
        "distances_head": distances,
    }
