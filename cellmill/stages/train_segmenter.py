"""The stage that makes a model of images and label images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cellmill import extras
from cellmill.arrays.batch import Batch
from cellmill.arrays.files import write_text
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    Metrics,
    Model,
    Output,
    Progress,
    Record,
    for_each_image,
    stage,
)
from cellmill.errors import BadInput
from cellmill.inference.engines import load_network
from cellmill.inference.proofs import proven
from cellmill.inference.tiled import PredictBatch
from cellmill.labels.kinds import (
    NUCLEAR,
    Compartment,
    typed,
    typed_kinds,
)
from cellmill.models.card import ModelCard
from cellmill.models.trust import check_network
from cellmill.stages.shared.training_images import TrainingBatch, count_objects, split_images
from cellmill.training.accuracy import measure_accuracy
from cellmill.training.augmentation import Augmentation
from cellmill.training.card import PREPROCESSING, head_names, made_with, trained_card
from cellmill.training.export import export_network, trainable_network
from cellmill.training.fit import FitParameters, TrainingImage, fit, seed_everything
from cellmill.training.network import BOTTOM, GAINS, WIDTHS, build_network
from cellmill.training.object_sizes import trained_sizes

#: The greatest learning rates, if nobody says.
_FROM_NOTHING, _FROM_A_BASE = 0.003, 0.0003


@stage(image="tensorflow", family="training")
def train_segmenter(
    images: Input[Images],
    labels: Input[GroundTruth],
    model: Output[Model],
    metrics: Output[Metrics],
    record: Output[Record],
    hard_background: Input[GroundTruth] | None = None,
    base: Input[Model] | None = None,
    on_bad_image: Literal["fail", "skip"] = "fail",
    name: str = "my-model",
    version: str = "1",
    description: str = "",
    licence: str = "",
    compartment: str = "nuclear",
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
    trust_model: bool = False,
) -> None:
    """Train a segmenter on images and label images, and measure it on images held out.

    The model has two heads a compartment, as Mesmer, runs at the images' own scale (crops are
    zoomed 0.5 to 2 times in training) and stands on its own: SavedModel and card. One seed gives
    one model, to the bit, on one machine and number of threads, unless a time limit ends the
    training.

    Args:
        images: Batch with array `image` (Y, X, C); all with the same number of channels to segment.
        labels: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei) int32, or arrays
            named as the kinds of object that are taught, an entry of the same name for each image;
            images without truth are left out.
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
        compartment: What is taught, of labels of one plane what they show: nuclear, whole-cell or
            another kind of object; both takes labels of two planes, and gives a model with Mesmer's
            four heads; several with commas between take an array each.
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
        trust_model: Go on from a network even if it could do more than compute: read files, or run
            code.
    """
    extras.load("tensorflow", "training")
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
    taught = typed_kinds(compartment, offered=None)
    begun = _open_base(base, base_source, taught, trusted=trust_model) if base else None
    preprocessing = begun.card.preprocessing if begun else PREPROCESSING
    hard = Batch.open(hard_background.path) if hard_background else None
    batch = TrainingBatch(
        Batch.open(images.path), Batch.open(labels.path), hard, taught, preprocessing
    )
    for_each_image(batch.images, batch.read, writers=[], record=record, on_bad_image=on_bad_image)
    training, held_out = split_images(batch.found, validation, validation_fraction, seed)
    with record.step("build"):
        seed_everything(seed)
        network = _build(begun, len(batch.channels[0]), taught)
    # Where cells are to be found whole, cytoplasm is no background and mitosis no small cell.
    whole = taught != (NUCLEAR,)
    augmentation = Augmentation(cytoplasm=0, condensed=0) if whole else Augmentation()
    with record.step("fit"), Progress("training", steps, "steps") as progress:
        done = fit(
            network, training, held_out, parameters, augmentation, lambda *_: progress.advance()
        )
    said = {
        **made_with(),
        **_images(training, held_out, batch),
        **_origin(begun, network),
        "parameters": asdict(parameters),
        "augmentation": asdict(augmentation),
        **done.to_dict(),
    }
    sizes = trained_sizes(training, taught)
    names = batch.channel_names()
    card = trained_card(
        name, version, taught, names, said, sizes=sizes, description=description, licence=licence
    )
    if begun:
        card = _of_base(card, begun, sizes)
    with record.step("export"):
        export_network(network, model.path)
    with record.step("measure accuracy"):
        accuracy = _accuracies(model.path, card, held_out, begun)
    with record.step("prove engines"):
        card = proven(model.path, replace(card, accuracy=accuracy))
    card.save(model.path)
    write_text(metrics.path, json.dumps({**accuracy, **done.to_dict()}, indent=1) + "\n")
    model.metadata.update(name=name, version=version, default_compartment=taught[0])
    metrics.metadata.update(_headline(accuracy))
    record.note(accuracy=accuracy, best_step=done.best_step, stopped=done.stopped)


@dataclass(frozen=True)
class _Base:
    """The model that a training goes on from, and where it came from."""

    path: Path
    card: ModelCard
    source: str


def _open_base(base: Model, source: str, taught: tuple[Compartment, ...], trusted: bool) -> _Base:
    card = ModelCard.load(base.path)
    if not trusted:
        check_network(base.path, "base")
    if taught != card.compartments:
        wanted, has = (" and ".join(map(typed, kinds)) for kinds in (taught, card.compartments))
        expected = f"a model of compartment '{wanted}'"
        raise BadInput("base", expected=expected, found=f"'{card.name}', of {has}")
    return _Base(base.path, card, source)


def _of_base(card: ModelCard, base: _Base, sizes: Mapping[str, Any]) -> ModelCard:
    """Give a card what stays the base's: input but for the objects' sizes, steps before and after.

    Args:
        card: the new model's.
        base: what it began with.
        sizes: of the objects it was trained on.
    """
    return replace(
        card,
        input=replace(base.card.input, **sizes),
        preprocessing=base.card.preprocessing,
        postprocessing=base.card.postprocessing,
    )


def _build(base: _Base | None, channels: int, taught: Sequence[Compartment]) -> Any:
    """Return the network to train: the base's, or a new one."""
    if not base:
        return build_network(channels, [head for each in taught for head in head_names(each)])
    network = trainable_network(base.path, base.card)
    if network.input_shape[-1] != channels:
        raise BadInput(
            "base",
            expected=f"a model of {channels} channels, as the images have",
            found=f"'{base.card.name}' of {network.input_shape[-1]}",
        )
    return network


def _images(
    training: Sequence[TrainingImage], held_out: Sequence[TrainingImage], batch: TrainingBatch
) -> dict[str, Any]:
    """Say for the card what was trained on."""
    return {
        "images": [image.name for image in training],
        "validation": [image.name for image in held_out],
        "objects": sum(count_objects(image.labels) for image in training),
        "hard_background": batch.hard is not None,
    }


def _origin(base: _Base | None, network: Any) -> dict[str, Any]:
    """Say for the card what the training began with."""
    if base:
        return {
            "base": f"{base.card.name} {base.card.version}",
            "base_source": base.source,
            "network": base.card.training["network"],
        }
    shape = {"widths": list(WIDTHS), "gains": list(GAINS), "bottom": BOTTOM}
    made = {**shape, "weights": network.count_params()}
    return {"base": "", "base_source": "", "network": made}


def _accuracies(
    exported: Path, card: ModelCard, images: list[TrainingImage], base: _Base | None
) -> dict[str, Any]:
    """Measure the model that was exported, and the base before it, on images held out."""
    network = load_network(exported, card, engine="tensorflow")
    found = _accuracy("validation", images, network, card)
    if base:
        before = load_network(base.path, base.card, engine="tensorflow", trusted=True)
        found |= _accuracy("validation_before", images, before, base.card)
    return found


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
