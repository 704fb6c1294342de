"""Images of a batch with their label images, as a training takes them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.channels import selected_channels
from cellmill.errors import BadInput
from cellmill.labels.kinds import WHOLE_CELL, Compartment, plural, singular
from cellmill.models.card import Preprocessing
from cellmill.preprocessing import preprocess
from cellmill.stages.shared.truth import truth_of
from cellmill.terminal import say
from cellmill.training.images import TrainingImage


@dataclass
class TrainingBatch:
    """What a training is given, read image by image.

    Attributes:
        images: the batch of images.
        truth: their label images.
        hard: label images of what looks like an object and is none, where there are any.
        kinds: the kinds of object that are taught; none where classes of pixels are.
        preprocessing: what the model's card will say.
        found: what was read, without images that have no label images.
        channels: of each the names of the channels to segment.
    """

    images: Batch
    truth: Batch
    hard: Batch | None
    kinds: Sequence[Compartment]
    preprocessing: Preprocessing
    found: list[TrainingImage] = field(default_factory=list)
    channels: list[tuple[str, ...]] = field(default_factory=list)

    def read(self, entry: Entry) -> None:
        """Read one image.

        Raises:
            BadInput: it has other channels than the first, or its label images do not fit.
        """
        target = _labels(self.truth, entry, self.kinds)
        if target is None:
            say(f"{entry.name}: no truth, left out", to=sys.stderr)
            return
        image, names = _image(self.images, entry, target.shape, self.preprocessing)
        if self.channels and len(names) != len(self.channels[0]):
            raise BadInput(
                f"image '{entry.name}'",
                expected=f"{len(self.channels[0])} channels to segment, as the first image has",
                found=f"{len(names)}",
            )
        self.channels.append(names)
        hard = _labels(self.hard, entry, self.kinds, "hard background") if self.hard else None
        sides = image.ndim - 1
        if hard is not None and hard.shape[:sides] != target.shape[:sides]:
            raise BadInput(
                f"hard background of '{entry.name}'",
                expected=f"shape {target.shape[:sides]}",
                found=f"{hard.shape[:sides]}",
            )
        self.found.append(TrainingImage(entry.name, image, target, hard, entry.mpp))

    def channel_names(self) -> tuple[str, ...]:
        """Give the channels' names for the card: the images' own if they agree, else plain ones."""
        found, count = self.channels, len(self.channels[0])
        if count == 1 and self.kinds:
            kind = self.kinds[0] if len(self.kinds) == 1 else WHOLE_CELL
            return (singular(kind) if kind == WHOLE_CELL else kind,)
        agreed = len(set(found)) == 1 and len(set(found[0])) == count and all(found[0])
        return found[0] if agreed else tuple(f"channel_{i}" for i in range(count))


def are_volumes(images: Batch) -> bool:
    """Whether a batch is of volumes, not of images.

    Raises:
        BadInput: it is of both.
    """
    shapes = {e.name: e.arrays["image"].shape for e in images.entries if "image" in e.arrays}
    volumes = [name for name, shape in shapes.items() if len(shape) == 4]
    if volumes and len(volumes) < len(shapes):
        plane = next(name for name in shapes if name not in volumes)
        found = f"image '{plane}' and volume '{volumes[0]}'"
        raise BadInput("images", expected="images or volumes, not both", found=found)
    return bool(volumes)


def split_images(
    images: list[TrainingImage], patterns: str, fraction: float, seed: int
) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Return the training and the validation images, each in the batch's order.

    Args:
        images: all of them.
        patterns: names or patterns of those to hold out, with commas between; empty to draw them.
        fraction: part to draw, at least one.
        seed: of the draw.

    Raises:
        BadInput: there are less than two images, or none or all would be held out.
    """
    if len(images) < 2:
        raise BadInput(
            "training images",
            expected="at least two with labels (one is held out)",
            found=f"{len(images)}",
        )
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if wanted:
        held = {i.name for i in images if any(fnmatchcase(i.name, p) for p in wanted)}
    else:
        order = np.random.default_rng(seed).permutation(len(images))
        count = min(max(round(len(images) * fraction), 1), len(images) - 1)
        held = {images[i].name for i in order[:count]}
    if not held or len(held) == len(images):
        raise BadInput(
            "validation",
            expected=f"names of some, not all, of {len(images)} images",
            found=f"{patterns!r}, which is {len(held)}",
        )
    return [i for i in images if i.name not in held], [i for i in images if i.name in held]


def count_objects(labels: np.ndarray) -> int:
    """Count the objects of label images `(Y, X)` or `(Y, X, K)`."""
    planes = labels.reshape(-1, labels.shape[2] if labels.ndim == 3 else 1).T
    return sum(len(np.unique(plane[plane > 0])) for plane in planes)


def _labels(
    batch: Batch, entry: Entry, compartments: Sequence[Compartment], what: str = "labels"
) -> np.ndarray | None:
    """The label images of that name, int32, or None where there are none.

    They are `(Y, X)`, or `(Z, Y, X)`, of one kind of object, `(Y, X, K)` of several; what is
    no truth of objects may be `(Y, X)` for several too.
    """
    mine = next((e for e in batch.entries if e.name == entry.name), None)
    if mine is None or not mine.arrays:
        return None
    if not compartments and what == "labels":
        return _class_labels(batch, mine)
    one_plane = "labels" in mine.arrays and "C" not in mine.arrays["labels"].axes
    if one_plane and what != "labels":
        return batch.read(mine, "labels").astype(np.int32)
    several = len(compartments) > 1
    planes = {} if one_plane and several else truth_of(batch, mine, compartments)
    fits = len(planes) == len(compartments) and len({p.shape for p in planes.values()}) == 1
    if not fits or any(plane.dtype.kind not in "iu" for plane in planes.values()):
        wanted = " and ".join(plural(kind) for kind in compartments)
        there = [f"{key} {array.dtype} {array.shape}" for key, array in mine.arrays.items()]
        raise BadInput(
            f"{what} of '{entry.name}'",
            expected=f"integers (Y, X), a plane each of {wanted}",
            found=", ".join(there),
        )
    found = [np.asarray(planes[kind][:, :]).astype(np.int32) for kind in compartments]
    return np.stack(found, axis=-1) if several else found[0]


def _class_labels(batch: Batch, entry: Entry) -> np.ndarray:
    """The values of the classes of pixels, `(Y, X)` or `(Z, Y, X)` int32."""
    found = np.asarray(batch.read(entry, "labels"))
    if (
        entry.arrays["labels"].axes not in ("YX", "ZYX")
        or found.dtype.kind not in "iu"
        or found.min(initial=0) < 0
    ):
        raise BadInput(
            f"labels of '{entry.name}'",
            expected="integers (Y, X) or (Z, Y, X) from 0 up, a value a class",
            found=f"{found.dtype} {found.shape}",
        )
    return found.astype(np.int32)


def _image(
    source: Batch, entry: Entry, shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The channels to segment, normalised as the model's card will say, and their names."""
    image = source.read(entry, "image")
    sides = image.shape[:-1]
    if sides != shape[: len(sides)] or len(shape) > 3:
        raise BadInput(f"labels of '{entry.name}'", expected=f"{sides}", found=f"{shape}")
    # A volume has one contrast: its planes lie one below the other, as where it is predicted.
    laid = image.reshape(-1, *image.shape[-2:])
    chosen = selected_channels(laid, entry)
    names = tuple(
        entry.channels[c] if 0 <= c < len(entry.channels) else "blank" for c in chosen.channels
    )
    ready = preprocess(np.asarray(chosen), preprocessing, what=f"image '{entry.name}'")
    return ready.reshape(*sides, -1), names
