"""How well a model segments images with truth, measured along the path that users' images take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cellmill.inference.blocks import BlockGrid, fitted, predict_volume
from cellmill.inference.tiled import PredictBatch, card_grid, predict_tiled
from cellmill.labels.kinds import Compartment
from cellmill.metrics import evaluate, evaluate_classes, pool, pool_classes
from cellmill.models.card import ModelCard
from cellmill.pixel_classification.card import HEAD
from cellmill.pixel_classification.classifier import PixelClass, class_values
from cellmill.segmentation.methods import recipes_of, segment_one
from cellmill.training.images import TrainingImage
from cellmill.version import __version__

REPORTED_IOUS = (0.5, 0.7, 0.9)

Segment = Callable[[TrainingImage, PredictBatch, ModelCard, Compartment], np.ndarray]
"""Segments a normalised image by a network, its card and a kind of object: `(Y, X)` int32."""


def predict_heads(
    image: np.ndarray, network: PredictBatch, card: ModelCard
) -> dict[str, np.ndarray]:
    """The maps of a normalised image, predicted tile by tile.

    Args:
        image: `(Y, X, C)` float32, preprocessed as the card asks for; or `(Z, Y, X, C)` where the
            network sees volumes.
        network: the model, as `cellmill.inference.engines.load_network` gives it.
        card: its card.

    Returns:
        `(Y, X, C)` or `(Z, Y, X, C)` float32 by head, its sides divided by the head's stride.
    """
    if card.input.sees_volumes:
        sides = image.shape[:-1]
        heads = {h.name: np.zeros(h.shape_over(sides), np.float32) for h in card.heads}
        blocks = BlockGrid.over(fitted(card, sides), sides)
        predict_volume(image, network, blocks, list(heads.values()), card.heads)
        return heads
    grid = card_grid(card, (image.shape[0], image.shape[1]))
    heads = {h.name: np.zeros(h.shape_over(grid.shape), np.float32) for h in card.heads}
    predict_tiled(image, network, grid, list(heads.values()), heads=card.heads)
    return heads


def segment_image(
    image: np.ndarray, network: PredictBatch, card: ModelCard, compartment: Compartment
) -> np.ndarray:
    """Segment a normalised image: tiles, network, the card's method and parameters.

    Args:
        image: as `predict_heads` takes it.
        network: the model, as `cellmill.inference.engines.load_network` gives it.
        card: its card.
        compartment: what to segment.

    Returns:
        `(Y, X)` or `(Z, Y, X)` int32 labels.
    """
    heads = predict_heads(image, network, card)
    recipe = recipes_of(card, (compartment,))[compartment]
    return segment_one(heads, recipe, shape=image.shape[:-1])


def _at_own_scale(
    image: TrainingImage, network: PredictBatch, card: ModelCard, compartment: Compartment
) -> np.ndarray:
    return segment_image(image.image, network, card, compartment)


def measure_accuracy(
    images: Sequence[TrainingImage],
    network: PredictBatch,
    card: ModelCard,
    compartment: Compartment,
    segment: Segment = _at_own_scale,
) -> dict[str, Any]:
    """Score a model on images with truth.

    Args:
        images: normalised, with labels `(Y, X)`, or `(Y, X, K)` in the order of the card's kinds.
        network: the model.
        card: its card.
        compartment: what is segmented and scored.
        segment: how; at the images' own scale, if nobody says.

    Returns:
        JSON values: `measured`, how; `images`, `objects`, `predicted`; pooled over all objects
        `average_precision` (TP / (TP + FP + FN)) by IoU threshold, `average_precision_mean` over
        0.5 … 0.95, `panoptic_quality`; and `average_precision_0.5_by_image`.
    """
    results = [
        evaluate(
            truth_of_kind(each.labels, card, compartment),
            segment(each, network, card, compartment),
        )
        for each in images
    ]
    pooled = pool(results)["pooled"]
    method = recipes_of(card, (compartment,))[compartment].method.name.replace("_", " ")
    return {
        "measured": f"tiles, network, {method}, cellmill.metrics {__version__}, by the stage that "
        "wrote this card",
        "images": len(images),
        "objects": pooled["n_truth"],
        "predicted": pooled["n_predicted"],
        "average_precision": _by_threshold(pooled),
        "average_precision_mean": round(pooled["mean_average_precision"], 4),
        "panoptic_quality": round(pooled["panoptic_quality"], 4),
        "average_precision_0.5_by_image": {
            image.name: _by_threshold(result)["0.5"]
            for image, result in zip(images, results, strict=True)
        },
    }


def measure_classes(
    images: Sequence[TrainingImage],
    network: PredictBatch,
    card: ModelCard,
    classes: Sequence[PixelClass],
) -> dict[str, Any]:
    """Score how well a model tells classes of pixels, on images with truth.

    Args:
        images: normalised, with the places of classes from 1 on; 0 is not labelled.
        network: the model.
        card: its card.
        classes: in the order of its head's channels.

    Returns:
        JSON values: `measured`, how; and what `cellmill.metrics.pool_classes` says; with
        `mean_dice_by_image`.
    """
    places = {each.name: place for place, each in enumerate(classes, start=1)}
    shown = [replace(each, value=places[each.name]) for each in classes]
    results = [
        evaluate_classes(
            each.labels,
            class_values(predict_heads(each.image, network, card)[HEAD], shown),
            places,
            spacing=each.mpp,
        )
        for each in images
    ]
    by_image = {
        image.name: result["mean_dice"] for image, result in zip(images, results, strict=True)
    }
    return {
        "measured": f"tiles, network, likeliest class, cellmill.metrics {__version__}, by the "
        "stage that wrote this card",
        **_rounded(pool_classes(results)),
        "mean_dice_by_image": _rounded(by_image),
    }


def _rounded(values: Any) -> Any:
    """JSON values whose fractions have four places."""
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return round(values, 4) if isinstance(values, float) else values


def truth_of_kind(labels: np.ndarray, card: ModelCard, compartment: Compartment) -> np.ndarray:
    """The label image of a kind, of labels of one kind or of all the card's; volumes have one."""
    if card.input.sees_volumes:
        return labels
    return labels[..., card.compartments.index(compartment)] if labels.ndim == 3 else labels


def _by_threshold(result: dict[str, Any]) -> dict[str, float]:
    found = {round(m["iou_threshold"], 2): m["average_precision"] for m in result["matching"]}
    return {f"{iou}": round(found[iou], 4) for iou in REPORTED_IOUS}
