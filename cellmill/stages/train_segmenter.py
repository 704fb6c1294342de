"""The stage that makes a model of images and label images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.channels import selected_channels
from cellmill.arrays.files import write_text
from cellmill.compartments import COMPARTMENTS, Compartment
from cellmill.contract import (
    Dataset,
    Input,
    Metrics,
    Model,
    Output,
    Progress,
    Record,
    for_each_image,
)
from cellmill.errors import BadInput
from cellmill.inference.savedmodel import load
from cellmill.inference.tiled import PredictBatch
from cellmill.models.card import ModelCard, Preprocessing
from cellmill.preprocessing import preprocess
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import PREPROCESSING, head_names, made_with, trained_card
from cellmill.training.export import export_network, load_network
from cellmill.training.fit import FitParameters, TrainingImage, fit, seed_everything
from cellmill.training.network import BOTTOM, GAINS, WIDTHS, build_network

#: The greatest learning rates, if nobody says.
_FROM_NOTHING, _FROM_A_BASE = 0.003, 0.0003


def train_segmenter(
    images: Input[Dataset],
    labels: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    record: Output[Record],
    hard_background: Input[Dataset] | None = None,
    base: Input[Model] | None = None,
    on_bad_image: Literal["fail", "skip"] = "fail",
    name: str = "my-model",
    version: str = "1",
    description: str = "",
    licence: str = "",
    compartment: Literal["nuclear", "whole-cell", "both"] = "nuclear",
    validation: str = "",
    validation_fraction: float = 0.15,
    steps: int = 1000,
    batch_size: int = 8,
    crop: int = 192,
    learning_rate: float = 0.0,
    validate_every: int = 100,
    patience: int = 0,
    seed: int = 0,
    time_limit_minutes: float = 0.0,
    base_source: str = "given",
) -> None:
    """Train a segmenter on images and label images, and measure it on images held out.

    The model has two heads a compartment, as Mesmer, runs at the images' own scale (crops are
    zoomed 0.5 to 2 times in training) and stands on its own: SavedModel and card. One seed gives
    one model, to the bit, on one machine and number of threads, unless a time limit ends the
    training.

    Args:
        images: Batch with array `image` (Y, X, C); all with the same number of channels to segment.
        labels: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei) int32, an entry
            of the same name for each image; images without truth are left out.
        model: The model's folder, SavedModel and model.json.
        metrics: Accuracy on the validation images (of the base model too, if given) and the
            training's curve, JSON.
        record: What was done, with times and versions.
        hard_background: Batch like `labels` whose objects look like those to find and are none
            (micronuclei, debris); they count four times as background.
        base: Model made by this stage to go on from (fine-tuning), instead of from nothing.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        name: The model's name.
        version: The model's version.
        description: What the card says of the model.
        licence: What the card says of the weights' licence.
        compartment: What is taught, of labels of one plane what they show; both takes labels of
            two planes, and gives a model with Mesmer's four heads.
        validation: Images to hold out for validation: names or patterns with `*`, with commas
            between. Empty: as many as `validation_fraction` says, drawn by the seed.
        validation_fraction: Part of the images to hold out, at least one image.
        steps: Batches to train on at most; about 0.6 CPU seconds each with the defaults.
        batch_size: Crops in a batch.
        crop: Side of a crop in pixels, a multiple of 16.
        learning_rate: The greatest learning rate; it falls along a half cosine. 0 is 0.003, or
            from a base 0.0003: what it has learnt is to be kept.
        validate_every: Steps between two looks at the validation images; the best look's weights
            are kept.
        patience: Stop after so many looks without a better one; 0 trains all steps.
        seed: Of everything random.
        time_limit_minutes: Stop training after this time; 0 is no limit.
        base_source: Where the base came from, for the card. Empty leaves the base aside and trains
            from nothing: a pipeline hands one over in any case.
    """
    if not base_source.strip():
        base = None
    parameters = FitParameters(
        steps=steps,
        batch_size=batch_size,
        crop=crop,
        learning_rate=learning_rate or (_FROM_A_BASE if base else _FROM_NOTHING),
        validate_every=min(validate_every, steps),
        patience=patience,
        seed=seed,
        time_limit_s=time_limit_minutes * 60,
    )
    if not 0 < validation_fraction < 1:
        raise BadInput("validation_fraction", expected="0 to 1", found=f"{validation_fraction}")
    base_card = ModelCard.load(base.path) if base else None
    taught = tuple(c for c in COMPARTMENTS if compartment.replace("-", "_") in (c, "both"))
    if base_card and taught != base_card.compartments:
        has = " and ".join(c.replace("_", "-") for c in base_card.compartments)
        raise BadInput(
            "base",
            expected=f"a model of compartment '{compartment}'",
            found=f"'{base_card.name}', of {has}",
        )
    preprocessing = base_card.preprocessing if base_card else PREPROCESSING
    source = Batch.open(images.path)
    truth = Batch.open(labels.path)
    hard = Batch.open(hard_background.path) if hard_background else None
    found: list[TrainingImage] = []
    channels: list[tuple[str, ...]] = []

    def read(entry: Entry) -> None:
        target = _labels(truth, entry, taught)
        if target is None:
            print(f"{entry.name}: no truth, left out", file=sys.stderr)
            return
        image, names = _image(source, entry, target.shape[:2], preprocessing)
        if channels and len(names) != len(channels[0]):
            raise BadInput(
                f"image '{entry.name}'",
                expected=f"{len(channels[0])} channels to segment, as the first image has",
                found=f"{len(names)}",
            )
        channels.append(names)
        background = _labels(hard, entry, taught, "hard background") if hard else None
        if background is not None and background.shape[:2] != target.shape[:2]:
            raise BadInput(
                f"hard background of '{entry.name}'",
                expected=f"shape {target.shape[:2]}",
                found=f"{background.shape[:2]}",
            )
        found.append(TrainingImage(entry.name, image, target, background))

    for_each_image(source, read, writers=[], record=record, on_bad_image=on_bad_image)
    training, held_out = _split(found, validation, validation_fraction, seed)
    with record.step("build"):
        seed_everything(seed)
        heads = [head for each in taught for head in head_names(each)]
        network = (
            load_network(base.path, base_card)
            if base and base_card
            else build_network(len(channels[0]), heads)
        )
        if network.input_shape[-1] != len(channels[0]):
            raise BadInput(
                "base",
                expected=f"a model of {len(channels[0])} channels, as the images have",
                found=f"'{base_card.name if base_card else ''}' of {network.input_shape[-1]}",
            )
    # Where cells are to be found whole, cytoplasm is no background and mitosis no small cell.
    augmentation = (
        Augmentation() if taught == ("nuclear",) else Augmentation(cytoplasm=0, condensed=0)
    )
    with record.step("fit"), Progress("training", steps, "steps") as progress:
        done = fit(
            network,
            training,
            held_out,
            parameters,
            augmentation,
            lambda step, loss: progress.advance(),
        )
    said = {
        **made_with(),
        "images": [image.name for image in training],
        "validation": [image.name for image in held_out],
        "objects": sum(_count(i.labels) for i in training),
        "hard_background": hard is not None,
        "base": f"{base_card.name} {base_card.version}" if base_card else "",
        "base_source": base_source if base_card else "",
        "parameters": asdict(parameters),
        "augmentation": asdict(augmentation),
        "network": base_card.training["network"]
        if base_card
        else {
            "widths": list(WIDTHS),
            "gains": list(GAINS),
            "bottom": BOTTOM,
            "weights": network.count_params(),
        },
        **done.to_dict(),
    }
    card = trained_card(
        name,
        version,
        taught,
        _channel_names(channels, taught),
        said,
        description=description,
        licence=licence,
    )
    if base_card:
        card = replace(
            card,
            input=base_card.input,
            preprocessing=preprocessing,
            postprocessing=base_card.postprocessing,
        )
    with record.step("export"):
        export_network(network, model.path)
    with record.step("measure accuracy"):
        accuracy = _accuracy("validation", held_out, load(model.path, card), card)
        if base and base_card:
            before = load(base.path, base_card)
            accuracy |= _accuracy("validation_before", held_out, before, base_card)
    replace(card, accuracy=accuracy).save(model.path)
    write_text(metrics.path, json.dumps({**accuracy, **done.to_dict()}, indent=1) + "\n")
    model.metadata.update(name=name, version=version, default_compartment=taught[0])
    metrics.metadata.update(_headline(accuracy))
    record.note(accuracy=accuracy, best_step=done.best_step, stopped=done.stopped)


def _labels(
    batch: Batch, entry: Entry, compartments: Sequence[Compartment], what: str = "labels"
) -> np.ndarray | None:
    """The label images of that name, int32, or None where there are none.

    They are `(Y, X)` for one compartment, `(Y, X, 2: whole cells, nuclei)` for both; what is no
    truth of objects may be `(Y, X)` for both too.
    """
    mine = next((e for e in batch.entries if e.name == entry.name), None)
    if mine is None or "labels" not in mine.arrays:
        return None
    labels = np.asarray(batch.read(mine, "labels"))
    two = labels.ndim == 3 and labels.shape[2] == len(COMPARTMENTS)
    fits = two or (labels.ndim == 2 and (len(compartments) == 1 or what != "labels"))
    if not fits or labels.dtype.kind not in "iu":
        raise BadInput(
            f"{what} of '{entry.name}'",
            expected="integers "
            + ("(Y, X)" if len(compartments) == 1 else "(Y, X, 2: whole cells, nuclei)"),
            found=f"{labels.dtype} {labels.shape}",
        )
    if two and len(compartments) == 1:
        labels = labels[..., COMPARTMENTS.index(compartments[0])]
    return labels.astype(np.int32)


def _image(
    source: Batch, entry: Entry, shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The channels to segment, normalised as the model's card will say, and their names."""
    image = source.read(entry, "image")
    if image.shape[:2] != shape:
        raise BadInput(f"labels of '{entry.name}'", expected=f"{image.shape[:2]}", found=f"{shape}")
    chosen = selected_channels(image, entry)
    names = tuple(
        entry.channels[c] if 0 <= c < len(entry.channels) else "blank" for c in chosen.channels
    )
    return preprocess(np.asarray(chosen), preprocessing, what=f"image '{entry.name}'"), names


def _channel_names(
    found: list[tuple[str, ...]], compartments: Sequence[Compartment]
) -> tuple[str, ...]:
    """The channels' names on the card: the images' own if they agree, else plain ones."""
    count = len(found[0])
    if count == 1:
        return ("nuclear",) if compartments == ("nuclear",) else ("cell",)
    agreed = len(set(found)) == 1 and len(set(found[0])) == count and all(found[0])
    return found[0] if agreed else tuple(f"channel_{i}" for i in range(count))


def _split(
    images: list[TrainingImage], patterns: str, fraction: float, seed: int
) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Training and validation images, each in the batch's order."""
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


def _count(labels: np.ndarray) -> int:
    """How many objects label images `(Y, X)` or `(Y, X, 2)` hold."""
    planes = labels.reshape(-1, labels.shape[2] if labels.ndim == 3 else 1).T
    return sum(len(np.unique(plane[plane > 0])) for plane in planes)


def _accuracy(
    which: str, images: list[TrainingImage], network: PredictBatch, card: ModelCard
) -> dict[str, Any]:
    """What a model reaches, under `which`; of two compartments each under a name of its own."""
    several = len(card.compartments) > 1
    return {
        f"{which}_{each}" if several else which: measure_accuracy(images, network, card, each)
        for each in card.compartments
    }


def _headline(accuracy: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that travel with the metrics artifact, within its 500 bytes."""
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
