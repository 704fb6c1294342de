"""The stage that makes a pixel classifier of images and scribbles."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cellmill import extras
from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.channels import selected_channels
from cellmill.arrays.files import write_text
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    Metrics,
    Model,
    Output,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.pixel_classification.feature_set import FeatureSet
from cellmill.pixel_classification.training import (
    Scribbled,
    Training,
    features_of,
    fit_classifier,
    scribbled,
)
from cellmill.terminal import say

#: By how much of itself the distance of planes may differ between volumes.
_SPACING_TOLERANCE = 0.05


@stage(image="imaging", family="training")
def train_pixel_classifier(
    images: Input[Images],
    scribbles: Input[GroundTruth],
    model: Output[Model],
    metrics: Output[Metrics],
    record: Output[Record],
    on_bad_image: Literal["fail", "skip"] = "fail",
    name: str = "my-pixel-classifier",
    version: str = "1",
    description: str = "",
    licence: str = "",
    classes: str = "",
    features: str = "gaussian,gradient,laplacian,hessian",
    sigmas: str = "0.7,1,1.6,3.5,5,10",
    trees: int = 0,
    depth: int = 0,
    seed: int = 0,
) -> None:
    """Teach a pixel classifier by scribbles, and measure it on scribbles held out.

    A model of it is a folder as any other: features and a random forest as plain arrays, and a
    card. One seed gives one classifier.

    Args:
        images: Batch with array `image` (Y, X, C), or all with Z before, volumes; all with the same
            channels.
        scribbles: Batch with array `labels` of the image's shape without channels, an entry of the
            same name for each image: 0 is not labelled, other values are classes; images without
            scribbles are left out.
        model: The model's folder, pixel_classifier.npz and model.json.
        metrics: Accuracy out of bag and on scribbles held out, what was tried, and the features'
            importance, JSON.
        record: What was done, with times and versions.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        name: The model's name.
        version: The model's version.
        description: What the card says of the model.
        licence: What the card says of the model's licence.
        classes: Names of the classes in the order of their values, with commas between; what is
            called background is no object, others are kinds of object. Empty: background, object,
            and class_3 and so on.
        features: Kinds of features, of gaussian, gradient, laplacian, hessian and structure.
        sigmas: Scales of the features in pixels, with commas between; along Z of a volume they are
            as long, where its voxel size is known.
        trees: How many trees; 0 chooses by accuracy out of bag against speed.
        depth: How deep trees may be; 0 chooses so too.
        seed: Of everything random.
    """
    extras.load("sklearn", "training a pixel classifier")
    told = Training(
        kinds=_words(features),  # type: ignore[arg-type]
        sigmas=_numbers(sigmas),
        classes=_words(classes),
        trees=trees,
        depth=depth,
        seed=seed,
    )
    batch = _Batch(Batch.open(images.path), Batch.open(scribbles.path), told)
    for_each_image(batch.images, batch.read, writers=[], record=record, on_bad_image=on_bad_image)
    if batch.features is None:
        raise BadInput("scribbles", expected="at least one image with them", found="none")
    with record.step("fit"):
        trained = fit_classifier(
            batch.found,
            batch.features,
            told,
            batch.channels,
            name=name,
            version=version,
            description=description,
            licence=licence,
            about={"images": batch.names},
        )
    with record.step("write"):
        trained.save(model.path)
    shown = {key: trained.card.training[key] for key in ("forest", "importance", "choice")}
    accuracy = dict(trained.card.accuracy)
    write_text(metrics.path, json.dumps({**accuracy, **shown}, indent=1) + "\n")
    model.metadata.update(
        name=name, version=version, default_compartment=trained.card.default_compartment
    )
    held = accuracy["held_out_scribbles"]["accuracy"]
    metrics.metadata.update(out_of_bag=accuracy["out_of_bag"], **shown["forest"])
    if held is not None:
        metrics.metadata.update(held_out_scribbles=held)
    record.note(accuracy=accuracy, forest=shown["forest"])


@dataclass
class _Batch:
    """What a training is given, read image by image.

    Attributes:
        images: the batch of images.
        scribbles: their scribbles.
        told: the training's settings.
        features: that are computed, by the first image.
        found: the scribbled pixels of each image.
        names: of those images.
        channels: names of the channels.
    """

    images: Batch
    scribbles: Batch
    told: Training
    features: FeatureSet | None = None
    found: list[Scribbled] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)

    def read(self, entry: Entry) -> None:
        """Take the scribbled pixels of one image.

        Raises:
            BadInput: it is no image, has other channels than the first, or scribbles do not fit.
        """
        mine = self.scribbles.counterpart(entry, self.images)
        if mine is None or not mine.arrays:
            say(f"{entry.name}: no scribbles, left out", to=sys.stderr)
            return
        whole = self.images.read(entry, "image")
        # The planes of a volume lie one below the other.
        chosen = selected_channels(whole.reshape(-1, *whole.shape[-2:]), entry)
        marks: Any = np.asarray(self.scribbles.read(mine, "labels"))
        image = np.asarray(chosen).reshape(*whole.shape[:-1], -1)
        if image.ndim not in (3, 4) or marks.ndim != image.ndim - 1:
            raise BadInput(
                f"image '{entry.name}'",
                expected="an image (Y, X, C) and scribbles (Y, X), or both with Z before",
                found=f"{image.shape} and {marks.shape}",
            )
        spacing = _z_spacing(entry)
        if self.features is None:
            self.features = features_of((image, marks), replace(self.told, z_spacing=spacing))
            places = [place for place in chosen.channels if 0 <= place < len(entry.channels)]
            names = [entry.channels[place] for place in places]
            named = len(set(names)) == image.shape[-1] and all(names)
            self.channels = names if named else [f"channel_{i}" for i in range(image.shape[-1])]
        self._check_like_the_first(entry, marks.ndim, spacing)
        try:
            self.found.append(scribbled(image, marks, self.features))
        except BadInput as bad:
            raise bad.about(f"image '{entry.name}', {bad.what}") from None
        self.names.append(entry.name)

    def _check_like_the_first(self, entry: Entry, axes: int, spacing: float) -> None:
        """Refuse a volume among images, or volumes whose voxels have another form."""
        assert self.features is not None
        own = (self.features.axes, self.features.z_spacing)
        if axes == own[0] and math.isclose(spacing, own[1], rel_tol=_SPACING_TOLERANCE):
            return
        shown = {2: "an image", 3: "a volume"}
        raise BadInput(
            f"image '{entry.name}'",
            expected=f"{shown[own[0]]}, its planes {own[1]:g} pixels apart, as the first",
            found=f"{shown[axes]}, {spacing:g}",
        )


def _z_spacing(entry: Entry) -> float:
    """How many pixels of y and x two planes of a volume are apart; 1 where that is unknown."""
    mpp = entry.mpp
    return mpp[0] / mpp[-1] if mpp is not None and len(mpp) == 3 else 1.0


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _words(text))
    except ValueError:
        raise BadInput("sigmas", expected="numbers with commas between", found=repr(text)) from None
