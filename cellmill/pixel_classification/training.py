"""Teaching a pixel classifier by scribbles: a few pixels of each class, of any number of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from cellmill import extras
from cellmill.errors import BadInput
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.card import classifier_card
from cellmill.pixel_classification.choosing import (
    Samples,
    choose,
    columns_of,
    fitted,
    importance_of,
    out_of_bag,
)
from cellmill.pixel_classification.classifier import PixelClass, PixelClassifier, named_classes
from cellmill.pixel_classification.feature_set import (
    DEFAULT_KINDS,
    DEFAULT_SIGMAS,
    FeatureSet,
    Kind,
)
from cellmill.pixel_classification.features import features_at, with_channels
from cellmill.pixel_classification.forest import Forest
from cellmill.version import __version__

#: Scribbled pixels that a forest learns from at most, all classes together.
MOST_PIXELS = 60_000
#: Of those, by how many trees, depth and features are chosen.
_CHOOSING_PIXELS = 20_000
#: Part of the scribbles of each class on which accuracy is measured.
_HELD_OUT = 0.25


@dataclass(frozen=True)
class Training:
    """What a training is told.

    Args:
        kinds: of features.
        sigmas: of features, in pixels.
        classes: names of the classes in the order of their values; none are given names.
        trees: how many; 0 chooses by accuracy out of bag against speed.
        depth: of trees at most; 0 chooses so too.
        z_spacing: of volumes, how many pixels two planes are apart.
        seed: of everything random.
    """

    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    sigmas: tuple[float, ...] = DEFAULT_SIGMAS
    classes: tuple[str, ...] = ()
    trees: int = 0
    depth: int = 0
    z_spacing: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("trees", 1000), ("depth", 100)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise BadInput(name, expected=f"0 to {most}", found=f"{value}")


@dataclass(frozen=True, eq=False)
class TrainedPixelClassifier:
    """A pixel classifier with its card: a model.

    Attributes:
        classifier: what classifies.
        card: what is known of it.
    """

    classifier: PixelClassifier
    card: ModelCard

    @property
    def classes(self) -> tuple[PixelClass, ...]:
        """The classes, in the order of probabilities."""
        return self.classifier.classes

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Compute the probability of each class; see `PixelClassifier.probabilities`."""
        return self.classifier.probabilities(image)

    def class_image(self, image: np.ndarray) -> np.ndarray:
        """The value of each pixel's likeliest class, int32, of the image's shape."""
        return self.classifier.class_image(self.probabilities(image))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model: a folder that `cellmill.segment(model=…)` and `MODEL=…` take."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.classifier.save(place)
        self.card.save(place)


@dataclass(frozen=True)
class Scribbled:
    """The scribbled pixels of one image.

    Args:
        values: `(n, F)` float32, their features.
        marks: `(n,)` the values of their classes.
        strokes: `(n,)` which connected scribble of the image each belongs to.
    """

    values: np.ndarray
    marks: np.ndarray
    strokes: np.ndarray


def train_pixel_classifier(
    images: np.ndarray | Sequence[np.ndarray],
    scribbles: np.ndarray | Sequence[np.ndarray],
    *,
    classes: Sequence[str] = (),
    sigmas: Sequence[float] = DEFAULT_SIGMAS,
    features: Sequence[Kind] = DEFAULT_KINDS,
    trees: int = 0,
    depth: int = 0,
    z_spacing: float = 1.0,
    seed: int = 0,
    name: str = "my-pixel-classifier",
) -> TrainedPixelClassifier:
    """Teach a pixel classifier by scribbles.

    Args:
        images: one image or several: `(Y, X)`, `(Y, X, C)` or `(Z, Y, X, C)`, of real numbers; a
            volume of one channel too has an axis of channels.
        scribbles: of each image, integers of its shape without channels: 0 is not labelled, other
            values are classes.
        classes: names of the classes, in the order of their values; `background` is no object.
        sigmas: scales of the features, in pixels.
        features: their kinds, of `gaussian`, `gradient`, `laplacian`, `hessian`, `structure`.
        trees: of the forest; 0 chooses by accuracy out of bag against speed.
        depth: of its trees; 0 chooses so too.
        z_spacing: of volumes, how many pixels of y and x two planes are apart.
        seed: of everything random: one seed gives one classifier.
        name: of the model.

    Returns:
        The classifier with its card: `probabilities(image)`, `class_image(image)`, `save(folder)`.

    Raises:
        BadInput: images and scribbles do not fit, fewer than two classes are scribbled, or
            scikit-learn is not installed.

    Example:
        >>> y, x = np.indices((40, 40))
        >>> image = np.hypot(y % 20 - 10, x % 20 - 10) < 6
        >>> scribbles = np.zeros((40, 40), int)
        >>> scribbles[10, 8:13], scribbles[20, 15:25] = 2, 1
        >>> trained = train_pixel_classifier(image, scribbles, sigmas=[1])
        >>> trained.class_image(image)[10::10, 10].tolist()
        [2, 1, 2]
    """
    told = Training(
        tuple(features), tuple(map(float, sigmas)), tuple(classes), trees, depth, z_spacing, seed
    )
    pairs = _paired(images, scribbles)
    wanted = features_of(pairs[0], told)
    found = [scribbled(image, marks, wanted) for image, marks in pairs]
    channels = [f"channel_{i}" for i in range(wanted.channels)]
    return fit_classifier(found, wanted, told, channels, name=name)


def features_of(pair: tuple[np.ndarray, np.ndarray], told: Training) -> FeatureSet:
    """The features that a training begins with, by its first image and scribbles."""
    image, marks = pair
    channels = 1 if image.ndim == marks.ndim else image.shape[-1]
    return FeatureSet.of(
        told.kinds, told.sigmas, channels, axes=marks.ndim, z_spacing=told.z_spacing
    )


def scribbled(
    image: np.ndarray, scribbles: np.ndarray, wanted: FeatureSet, what: str = "scribbles"
) -> Scribbled:
    """The scribbled pixels of one image.

    Args:
        image: as `train_pixel_classifier` takes it.
        scribbles: of its shape without channels.
        wanted: features.
        what: the scribbles' name in messages.

    Raises:
        BadInput: the scribbles are no integers from 0 up, or of another shape; the image has other
            axes or channels, NaN or infinity.
    """
    pixels = with_channels(image, wanted)
    if pixels.shape[-1] != wanted.channels:
        expected = f"{wanted.channels} channel(s), as the first has"
        raise BadInput("image", expected=expected, found=f"{pixels.shape[-1]}")
    if scribbles.dtype.kind not in "iub" or scribbles.shape != pixels.shape[:-1]:
        raise BadInput(
            what,
            expected=f"integers {pixels.shape[:-1]}",
            found=f"{scribbles.dtype} {scribbles.shape}",
        )
    marks = scribbles.astype(np.int64)
    if marks.size and marks.min() < 0:
        raise BadInput(what, expected="0, and classes above it", found=f"{marks.min()}")
    places = marks > 0
    return Scribbled(features_at(pixels, places, wanted), marks[places], _strokes(marks)[places])


def fit_classifier(
    found: Sequence[Scribbled],
    wanted: FeatureSet,
    told: Training,
    channels: Sequence[str],
    *,
    name: str,
    version: str = "1",
    description: str = "",
    licence: str = "",
    about: Mapping[str, Any] | None = None,
) -> TrainedPixelClassifier:
    """Fit a classifier to the scribbled pixels of all images.

    Args:
        found: of each image.
        wanted: the features that they have.
        told: the training's settings.
        channels: names of the images' channels.
        name: of the model.
        version: of the model.
        description: for the card.
        licence: for the card.
        about: what the card is to say of the images.

    Raises:
        BadInput: fewer than two classes are scribbled, or scikit-learn is not installed.
    """
    sklearn = extras.load("sklearn", "training a pixel classifier")
    marks = np.concatenate([each.marks for each in found])
    values = np.unique(marks)
    classes = named_classes(values.tolist(), told.classes)
    rng = np.random.default_rng(told.seed)
    taken = _drawn(marks, MOST_PIXELS, rng)
    every = Samples(
        np.concatenate([each.values for each in found])[taken],
        np.searchsorted(values, marks[taken]),
    )
    strokes = _numbered([each.strokes for each in found])[taken]
    few = _drawn(every.classes, _CHOOSING_PIXELS, rng)
    kept, trees, depth, tried = choose(
        Samples(every.values[few], every.classes[few]), wanted, told.seed, told.trees, told.depth
    )
    samples = Samples(every.values[:, columns_of(wanted, kept)], every.classes)
    forest = fitted(samples, trees, depth, told.seed)
    classifier = PixelClassifier(kept, Forest.of_trees(forest.estimators_), classes)
    accuracy = {
        "out_of_bag": round(out_of_bag(forest, samples, (trees,))[trees], 5),
        "held_out_scribbles": _held_out(samples, strokes, classes, trees, depth, told.seed, rng),
    }
    training = {
        "code": f"cellmill {__version__}",
        "frameworks": f"scikit-learn {sklearn.__version__}",
        "classes": _shown(classes, marks),
        "pixels_learnt_from": len(taken),
        "forest": {"trees": trees, "depth": depth, "nodes": len(classifier.forest.left)},
        "importance": _ranked(kept, forest.feature_importances_),
        "choice": [asdict(each) for each in tried],
        "seed": told.seed,
        **(about or {}),
    }
    card = classifier_card(
        classifier, name, version, channels, training, accuracy, description, licence
    )
    return TrainedPixelClassifier(classifier, card)


def _shown(classes: Sequence[PixelClass], marks: np.ndarray) -> list[dict[str, Any]]:
    """The classes as a card has them, with how many pixels were scribbled of each."""
    return [
        {**asdict(each), "scribbled_pixels": int(np.count_nonzero(marks == each.value))}
        for each in classes
    ]


def _ranked(wanted: FeatureSet, importance: np.ndarray) -> dict[str, float]:
    """The importance of each filter by its title, the greatest first."""
    shares = importance_of(wanted, importance).tolist()
    ranked = sorted(zip(shares, wanted.features, strict=True), key=lambda pair: -pair[0])
    several = wanted.channels > 1
    return {feature.title(several): round(share, 5) for share, feature in ranked}


def _paired(
    images: np.ndarray | Sequence[np.ndarray], scribbles: np.ndarray | Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    if isinstance(images, np.ndarray) != isinstance(scribbles, np.ndarray):
        raise BadInput("scribbles", expected="one image each", found="one of them in a list")
    if isinstance(images, np.ndarray) and isinstance(scribbles, np.ndarray):
        return [(images, scribbles)]
    first, second = [*map(np.asarray, images)], [*map(np.asarray, scribbles)]
    if not first or len(first) != len(second):
        raise BadInput("scribbles", expected=f"{len(first)} images", found=f"{len(second)}")
    return list(zip(first, second, strict=True))


def _strokes(marks: np.ndarray) -> np.ndarray:
    """A number for each connected piece of one value."""
    found, count = np.zeros(marks.shape, np.int64), 0
    around = np.ones((3,) * marks.ndim)
    for value in np.unique(marks[marks > 0]):
        pieces, more = ndimage.label(marks == value, around)
        found += np.where(pieces > 0, pieces + count, 0)
        count += more
    return found


def _numbered(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers of strokes that are different in different images."""
    found, count = [], 0
    for each in strokes:
        found.append(each + count)
        count += int(each.max(initial=0))
    return np.concatenate(found)


def _drawn(classes: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places of at most so many pixels, in order; every class keeps its part, at least 1."""
    if len(classes) <= most:
        return np.arange(len(classes))
    found = []
    for value in np.unique(classes):
        places = np.flatnonzero(classes == value)
        count = max(1, round(most * len(places) / len(classes)))
        found.append(rng.choice(places, count, replace=False))
    return np.sort(np.concatenate(found))


def _held_out(
    samples: Samples,
    strokes: np.ndarray,
    classes: Sequence[PixelClass],
    trees: int,
    depth: int,
    seed: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Accuracy on whole scribbles that a forest of the same settings was not shown."""
    held = np.zeros(len(strokes), bool)
    for each in np.unique(samples.classes):
        mine = np.unique(strokes[samples.classes == each])
        if len(mine) < 2:
            return {"accuracy": None, "why": "a class has one scribble only"}
        count = max(1, round(_HELD_OUT * len(mine)))
        held |= np.isin(strokes, rng.permutation(mine)[:count])
    shown = Samples(samples.values[~held], samples.classes[~held])
    forest = fitted(shown, trees, depth, seed)
    right = forest.predict(samples.values[held]) == samples.classes[held]
    by_class = {
        classes[each].name: round(float(right[samples.classes[held] == each].mean()), 5)
        for each in np.unique(samples.classes[held])
    }
    return {
        "accuracy": round(float(right.mean()), 5),
        "by_class": by_class,
        "pixels": int(held.sum()),
    }
