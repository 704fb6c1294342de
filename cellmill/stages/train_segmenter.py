"""The stage that makes a model of images and label images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
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
from cellmill.models.card import ModelCard
from cellmill.stages.shared.checkpoints import checkpoint_folder
from cellmill.stages.shared.instance_training import InstanceTraining
from cellmill.stages.shared.semantic_training import SemanticTraining
from cellmill.stages.shared.training_base import Base, Named, open_base, origin
from cellmill.stages.shared.training_images import TrainingBatch, are_volumes, split_images
from cellmill.stages.shared.volume_training import VolumeTraining
from cellmill.terminal import say
from cellmill.training.card import PREPROCESSING, made_with
from cellmill.training.export import export_network
from cellmill.training.extents import extents_beside
from cellmill.training.fit import FitParameters, fit, seed_everything
from cellmill.training.images import TrainingImage
from cellmill.training.state import Keeping

Task = InstanceTraining | SemanticTraining | VolumeTraining

#: The greatest learning rates, if nobody says.
_FROM_NOTHING, _FROM_A_BASE = 0.003, 0.0003
#: Sides of crops, if nobody says.
_CROP, _VOLUME_CROP = 192, 48


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
    task: Literal["instances", "semantic"] = "instances",
    method: Literal["deep_watershed", "stardist"] = "deep_watershed",
    rays: int = 32,
    compartment: str = "nuclear",
    classes: str = "",
    class_weights: str = "",
    zero: Literal["unlabelled", "background"] = "unlabelled",
    validation: str = "",
    validation_fraction: float = 0.15,
    steps: int = 1000,
    batch_size: int = 8,
    crop: int = 0,
    learning_rate: float = 0.0,
    validate_every: int = 100,
    patience: int = 0,
    seed: int = 0,
    time_limit_minutes: float = 0.0,
    checkpoints: str = "",
    checkpoint_every: int = 100,
    base_source: str = "given",
    trust_model: bool = False,
) -> None:
    """Train a segmenter on images and label images, and measure it on images held out.

    The model has two heads a compartment, as Mesmer, or one of the probabilities of pixel classes;
    it runs at the images' own scale (crops are zoomed 0.5 to 2 times in training) and stands on its
    own: SavedModel and card. One seed gives one model, to the bit, on one machine and number of
    threads, unless a time limit ends the training.

    Args:
        images: Batch with array `image` (Y, X, C), or of volumes (Z, Y, X, C), whose network sees
            volumes; all with the same number of channels to segment.
        labels: Batch with array `labels` (Y, X), of volumes (Z, Y, X), or (Y, X, 2: whole cells,
            nuclei) int32, or arrays named as the kinds of object that are taught, an entry of the
            same name for each image; images without truth are left out.
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
        task: What is taught: instances, objects told apart by their numbers; or semantic, the class
            of every pixel, of labels whose values are classes and may be sparse.
        method: How objects will be found: deep_watershed, by an inner distance; or stardist, as
            star-convex polygons, whose thresholds are chosen on the validation images.
        rays: Of method stardist, along which the distance to an object's edge is taught.
        compartment: What is taught of objects, of labels of one plane what they show: nuclear,
            whole-cell or another kind of object; both takes labels of two planes, and gives a model
            with Mesmer's four heads; several with commas between take an array each.
        classes: Names of the classes of pixels in the order of their values, with commas between;
            what is called background is no object, others are kinds of object. Empty: background,
            object, and class_3 and so on.
        class_weights: Of each class in the loss, with commas between; empty balances them: the
            root of how rare each is.
        zero: What 0 is in labels of classes: unlabelled pixels, of which nothing is learnt; or
            background, a class of its own, the first.
        validation: Images to hold out for validation: names or patterns with `*`, with commas
            between. Empty: as many as `validation_fraction` says, drawn by the seed.
        validation_fraction: Part of the images to hold out, at least one image.
        steps: Batches to train on at most; about 0.6 CPU seconds each with the defaults.
        batch_size: Crops in a batch.
        crop: Side of a crop in pixels, a multiple of 16; 0 is 192, of volumes 48. A crop of a
            volume is about as deep in microns.
        learning_rate: The greatest learning rate; it falls along a half cosine. 0 is 0.003, or
            from a base 0.0003: what it has learnt is to be kept.
        validate_every: Steps between two looks at the validation images; the best look's weights
            are kept.
        patience: Stop after so many looks without a better one; 0 trains all steps.
        seed: Of everything random.
        time_limit_minutes: Stop training after this time; 0 is no limit.
        checkpoints: Folder to keep a checkpoint in: a training that was killed goes on from there
            to the same result. Empty keeps none.
        checkpoint_every: Steps between two checkpoints.
        base_source: Where the base came from, for the card. Empty leaves the base aside and trains
            from nothing: a pipeline hands one over in any case.
        trust_model: Go on from a network even if it could do more than compute: read files, or run
            code.
    """
    extras.load("tensorflow", "training")
    begun = open_base(base, base_source, trust_model) if base and base_source.strip() else None
    given, truth = Batch.open(images.path), Batch.open(labels.path)
    volumes = are_volumes(given)
    parameters = FitParameters(
        steps=steps,
        batch_size=batch_size,
        crop=crop or (_VOLUME_CROP if volumes else _CROP),
        learning_rate=learning_rate or (_FROM_A_BASE if begun else _FROM_NOTHING),
        validate_every=min(validate_every, steps),
        patience=patience,
        seed=seed,
        time_limit_s=time_limit_minutes * 60,
    )
    if not 0 < validation_fraction < 1:
        raise BadInput("validation_fraction", expected="0 to 1", found=f"{validation_fraction}")
    taught = _task(task, (compartment, method, rays, volumes), classes, class_weights, zero)
    if begun:
        taught.check_base(begun)
    preprocessing = begun.card.preprocessing if begun else PREPROCESSING
    hard = Batch.open(hard_background.path) if hard_background else None
    batch = TrainingBatch(given, truth, hard, taught.kinds, preprocessing)
    for_each_image(batch.images, batch.read, writers=[], record=record, on_bad_image=on_bad_image)
    found = taught.read(batch.found)
    training, held_out = split_images(found, validation, validation_fraction, seed)
    objective = taught.objective(training)
    channels = batch.channel_names()
    with record.step("build"):
        seed_everything(seed)
        network = begun.network(len(channels)) if begun else taught.network(len(channels))
    said = _said(taught, training, held_out, batch, origin(begun, network, taught.built()))
    with record.step("fit"), Progress("training", steps, "steps") as progress:
        done = fit(
            network,
            training,
            held_out,
            parameters,
            taught.augmentation,
            partial(_told, progress),
            objective,
            _keeping(checkpoints, checkpoint_every),
        )
    said |= {
        "parameters": asdict(parameters),
        "augmentation": asdict(taught.augmentation),
        **done.to_dict(),
    }
    named = Named(name, version, description, licence)
    card = taught.card(training, begun, channels, said, named)
    with record.step("export"):
        export_network(network, model.path)
    with record.step("measure accuracy"):
        card, accuracy = _measured(model.path, card, held_out, begun, taught)
    with record.step("prove engines"):
        card = proven(model.path, replace(card, accuracy=accuracy))
    card.save(model.path)
    write_text(metrics.path, json.dumps({**accuracy, **done.to_dict()}, indent=1) + "\n")
    model.metadata.update(name=name, version=version, default_compartment=card.default_compartment)
    metrics.metadata.update(taught.headline(accuracy))
    record.note(accuracy=accuracy, best_step=done.best_step, stopped=done.stopped)


def _told(progress: Progress, step: int, loss: float) -> None:
    """Show the steps done and the last loss."""
    progress.note(f"loss {loss:.4g}")
    progress.advance(step - progress.done)


def _keeping(checkpoints: str, every: int) -> Keeping | None:
    folder = checkpoint_folder(checkpoints)
    return Keeping(folder, every) if folder else None


def _task(
    task: str,
    objects: tuple[str, str, int, bool],
    classes: str,
    class_weights: str,
    zero: str,
) -> Task:
    """What is taught, and how that is done; of objects kind, method, rays, and if in volumes."""
    compartment, method, rays, volumes = objects
    if task == "semantic":
        return SemanticTraining.of(classes, class_weights, zero, volumes)
    for name, given in (("classes", classes), ("class_weights", class_weights)):
        if given.strip():
            raise BadInput(name, expected="none, where objects are taught", found=repr(given))
    if volumes:
        return VolumeTraining.of(compartment, method)
    return InstanceTraining.of(compartment, method, rays)


def _said(
    taught: Task,
    training: Sequence[TrainingImage],
    held_out: Sequence[TrainingImage],
    batch: TrainingBatch,
    began: dict[str, Any],
) -> dict[str, Any]:
    """Say for the card what is trained, by what, and on what; warn before time is spent on it."""
    return {
        **made_with(),
        "images": [image.name for image in training],
        "validation": [image.name for image in held_out],
        "hard_background": batch.hard is not None,
        **taught.said(training),
        **_extents(taught, training, began["network"]),
        **began,
    }


def _extents(
    taught: Task, training: Sequence[TrainingImage], network: dict[str, Any]
) -> dict[str, Any]:
    """Say for the card how long objects are beside what the network sees, and warn of it."""
    sees = taught.sees(network)
    found, warnings = extents_beside(taught.lengths(training), sees)
    for line in warnings:
        say(f"warning: {line}", to=sys.stderr)
    return {"receptive_field_px": sees, "object_length_px": found, "warnings": warnings}


def _measured(
    exported: Path, card: ModelCard, images: list[TrainingImage], base: Base | None, taught: Task
) -> tuple[ModelCard, dict[str, Any]]:
    """Tune the model that was exported on images held out; measure it, and the base before it."""
    network = load_network(exported, card, engine="tensorflow")
    card = taught.tuned(card, images, network)
    found = taught.accuracy("validation", images, network, card)
    if base:
        before = load_network(base.path, base.card, engine="tensorflow", trusted=True)
        found |= taught.accuracy("validation_before", images, before, base.card)
    return card, found
